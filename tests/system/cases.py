# SPDX-License-Identifier: BSD-2-Clause
"""All system tests by name."""
import bad_input
import boots
import cpu
import ends
import firmware
import hostile
import kernels
import lifecycle
import many
import onhost
import pv
import smp
import scheduler
import torture


def all_cases():
    return (onhost.CASES + boots.CASES + cpu.CASES + ends.CASES + kernels.CASES + lifecycle.CASES + many.CASES + bad_input.CASES +
            firmware.CASES + smp.CASES + torture.CASES + pv.CASES + scheduler.CASES + hostile.CASES)
