# SPDX-License-Identifier: BSD-2-Clause
"""KVM's paravirtual interface, used by a guest of our own; what stock Linux makes of it the cloud-* tests look at."""
import os
import re

from boots import BACKEND
from harness import ROOT, Case, check, check_backend, check_status
from torture import check_report

PVTEST = os.path.join(ROOT, "build", "tests", "guests", "pvtest.elf")
CHECKS = 35  # as many as it makes, so that one that ends early cannot pass


def passed(p, least):
    failed = re.findall(rb"CPUTEST: (\S+) FAIL, saw (\S+ \S+)", p.out)
    check(not failed, f"failed: {failed}")
    ok = len(re.findall(rb"CPUTEST: \S+ ok", p.out))
    check(ok >= least, f"{ok} checks, fewer than {least}")


def pvtest(cpu, boot, cpus=1, words="", least=CHECKS, **more):
    def test(ctx):
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(cpus),
                    "--vm", ctx.vm_file("p", words, kernel=PVTEST, **more))
        check_backend(p, BACKEND[cpu], cpus)
        p.expect(rb"CPUTEST: pvtest done")
        passed(p, least)
        check_status(p, 1)
        if "torture" in more:
            check_report(p, cpus, 1)
    return test


def steal(ctx):
    """Beside a VM that spins on the one CPU: what the other took is told."""
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "1", "--vm", ctx.vm_file("s", "spin"),
                "--vm", ctx.vm_file("p", "steal", kernel=PVTEST))
    p.expect(rb"CPUTEST: pvtest done")
    passed(p, CHECKS + 2)
    p.stop()


CASES = [
    Case("pv-amd", pvtest("amd", "direct"), 5, timeout=90),
    Case("pv-intel", pvtest("intel", "grub"), 30, timeout=400),
    Case("pv-steal", steal, 10, timeout=90),
    Case("pv-absent", pvtest("amd", "direct", words="absent", least=4, paravirt=0), 5, timeout=90),
    Case("torture-pv-amd", pvtest("amd", "direct", cpus=2, torture=5), 10, timeout=120),
    Case("torture-pv-intel", pvtest("intel", "grub", torture=5), 45, timeout=400),
]
