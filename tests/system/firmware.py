# SPDX-License-Identifier: BSD-2-Clause
"""What firmware may hand over, and what the host makes of it: the tiny guest on odd machines."""
from harness import Case, Failed, check, check_host

GOOD = (b"[0.1] info Dalang 0.1: AMD-V (SVM, NPT), 2 of 2 CPUs\n"
        b"[0.2] info paging: checked, 60 leaves, none writable and executable, none of the guests' pool\n"
        b"[0.3] info every VM has ended: power-off\n")


class Said:
    """A run that has ended, as check_host() sees it."""

    def __init__(self, err):
        self.err = err


def checks_can_fail(_ctx):
    """The assertions that every boot test makes do catch what they are for."""
    check_host(Said(GOOD))
    check_host(Said(GOOD + b"[0.4] warning the moon is full\n"), allow=(rb"^the moon",))
    check_host(Said(b"dalang: Bochs, CPU x; boot by uefi; 1 host CPU(s)\n[0.0] warning no ACPI tables: x\n" + GOOD))
    for bad in (GOOD.replace(b"2 of 2", b"1 of 2"), GOOD.replace(b"paging", b"pages"), GOOD[:60],
                GOOD.replace(b"60 leaves", b"0 leaves"), b"[0.0] warning no ACPI tables: x\n" + GOOD,
                GOOD + b"[0.4] error CPU 1: on fire\n"):
        try:
            check_host(Said(bad))
        except Failed:
            continue
        check(False, f"nothing was found wrong with {bad!r}")


CASES = [
    Case("host-checks-can-fail", checks_can_fail, seconds=1, memory=50),
]
