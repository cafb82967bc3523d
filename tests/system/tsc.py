# SPDX-License-Identifier: BSD-2-Clause
"""VMs whose TSC has another frequency than the host's: on Bochs' Skylake, of the emulated CPUs the only one that scales."""
from harness import Case, check, check_status
from pv import CHECKS, PVTEST
from smp import SMP, check_guest
from torture import check_report

SCALES = {"DALANG_TEST_CPU": "corei7_skylake_x"}
WORDS = "khz=250000 timers tsc tscset exit=0"
SMP_CHECKS = 18  # what these words make


def scaled(ctx):
    """Three VMs on one CPU, each at a pace of its own: deadlines, clocks, writes to the TSC, two vCPUs in step."""
    p = ctx.run("--cpu", "intel", "--boot", "grub", "--host-cpus", "1",
                "--vm", ctx.vm_file("s", WORDS, kernel=SMP, vcpus=2, tsc_khz=250000),
                "--vm", ctx.vm_file("p", kernel=PVTEST, tsc_khz=61234, torture=7),
                "--vm", ctx.vm_file("q", kernel=PVTEST), env=SCALES)
    check_status(p, 1)
    check_guest(p.out, 2, SMP_CHECKS, rb"s: ")
    for vm in (b"p", b"q"):
        done = p.out.count(b"%s: CPUTEST: " % vm) - 1
        check(done == CHECKS and b" FAIL" not in p.out, f"{vm}: {done} checks of {CHECKS} passed")
    check_report(p, 1, 1)


def refused(ctx):
    """A CPU that cannot scale, one that cannot scale as much: the VM is refused, and another runs."""
    for options, env, khz, why in ((("amd", "direct"), None, 100000000, b"cannot scale it"),
                                   (("intel", "grub"), SCALES, 26000000, b"scales it by less than 256")):
        p = ctx.run("--cpu", options[0], "--boot", options[1], "--host-cpus", "1",
                    "--vm", ctx.vm_file("s", "exit=0", tsc_khz=khz), "--vm", ctx.vm_file("t", "exit=0"), env=env)
        check_status(p, 64)
        p.expect(rb"^dalang: refused: s: tsc_khz = %d, but the TSC here has \d+ kHz and this CPU %s; take" % (khz, why),
                 "err")
        check(b"VM t: ended, debug exit, value 0" in p.err, "the other VM did not run")


CASES = [
    Case("tsc-scaled-intel", scaled, 15, timeout=300),
    Case("tsc-refused", refused, 15, timeout=200),
]
