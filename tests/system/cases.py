# SPDX-License-Identifier: BSD-2-Clause
"""All system tests by name."""
import bad_input
import boots
import ends
import onhost
import torture


def all_cases():
    return onhost.CASES + boots.CASES + ends.CASES + bad_input.CASES + torture.CASES
