# SPDX-License-Identifier: BSD-2-Clause
"""The PCI bus: a guest of our own that moves BARs and takes every kind of interrupt."""
import os
import re

from boots import BACKEND
from harness import ROOT, Case, check, check_backend, check_status
from pv import passed
from torture import check_report

PCITEST = os.path.join(ROOT, "build", "tests", "guests", "pcitest.elf")
CHECKS = 59  # as many as it makes, so that one that ends early cannot pass


def pcitest(cpu, boot, cpus=1, **more):
    def test(ctx):
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(cpus),
                    "--vm", ctx.vm_file("p", "", kernel=PCITEST, testdev=5, **more))
        check_backend(p, BACKEND[cpu], cpus)
        p.expect(rb"CPUTEST: pcitest done")
        passed(p, CHECKS)
        check_status(p, 1)
        if "torture" in more:
            check_report(p, cpus, 1)
    return test


CASES = [
    Case("pci-amd", pcitest("amd", "direct"), 5, timeout=90),
    Case("pci-intel", pcitest("intel", "grub"), 30, timeout=400),
    Case("torture-pci-amd", pcitest("amd", "direct", cpus=2, torture=3), 10, timeout=120),
    Case("torture-pci-intel", pcitest("intel", "grub", torture=3), 45, timeout=400),
]
