# SPDX-License-Identifier: BSD-2-Clause
"""All system tests by name."""
import bad_input
import boots
import cpu
import ends
import firmware
import kernels
import onhost
import scheduler
import torture


def all_cases():
    return (onhost.CASES + boots.CASES + cpu.CASES + ends.CASES + kernels.CASES + bad_input.CASES +
            firmware.CASES + torture.CASES + scheduler.CASES)
