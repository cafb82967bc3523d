# SPDX-License-Identifier: BSD-2-Clause
"""Torture mode: the guest is rebuilt from bytes, its memory write-protected, its vCPU moved, and notices nothing."""
import re

import cpu as cpu_tests
import ends
import guests
from boots import BACKEND, CHECKS
from harness import Case, check, check_backend, check_status
from smp import SMP, check_guest
from util import guest_file

REPORT = re.compile(rb"torture: (\d+) rebuilds, (\d+) protects, (\d+) moves, (\d+) drops, (\d+) splits, (\d+) merges")


def check_report(p, cpus, least, reports=1):
    """The host's log says at the VM's end, and when it gets another seed, how often; it did happen."""
    found = [list(map(int, m)) for m in REPORT.findall(p.err)]
    check(len(found) >= reports, f"{len(found)} lines on torture in the log, not {reports}")
    for rebuilds, protects, moves, drops, splits, merges in found[:reports]:
        for what, n in (("rebuilds", rebuilds), ("protects", protects), ("splits", splits)):
            check(n >= least, f"{n} {what}, fewer than {least}")
        check(drops + merges > 0, "nothing was dropped and nothing merged")
        check(moves > 0 if cpus > 1 else moves == 0, f"{moves} moves on {cpus} CPU(s)")


def tiny(cpu, boot, cpus, seed):
    def test(ctx):
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(cpus),
                    "--vm", ctx.vm_file("t", "one memtest msrs ticks=200 exit=5", torture=seed))
        check_backend(p, BACKEND[cpu], cpus)
        check_status(p, 11)
        for c in CHECKS:
            check(b"TINY: " + c + b" ok" in p.out, f"the guest's check of {c.decode()} did not pass")
        check_report(p, cpus, 1)
    return test


def cloud(cpu, boot, cpus, seed, vcpus=1):
    """Debian's cloud kernel to its shell, some work in it, and power-off."""
    def test(ctx):
        cfg = ctx.file("c.cfg", f'name = "c"\nkernel = "{guest_file("vmlinuz")}"\nmemory = 256\n'
                                f'ramdisk = "{guests.initramfs()}"\ncmdline = "{guests.CMDLINE}"\ntorture = {seed}\n'
                                f"vcpus = {vcpus}\n")
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(cpus), "--vm", cfg)
        check_backend(p, BACKEND[cpu], cpus)
        prompt = guests.PROMPT.strip().encode()
        m = p.expect(prompt)
        p.send(b"echo $((6*7))-$(nproc)-$(dmesg | grep -c 'BUG:\\|Oops\\|Call Trace')\n")
        m = p.expect(rb"^42-%d-0\r?$" % vcpus, start=m.end())
        m = p.expect(prompt, start=m.end())
        p.send(b"poweroff -f\n")
        check_status(p, 0)
        check_report(p, cpus, 10)
    return test


def smp(cpu, boot, cpus, vcpus, seed):
    """Several vCPUs: interrupts between them, INIT and SIPI, TLB shootdowns, timers."""
    def test(ctx):
        words = "mptable=1 warm=20 warm-bsp ipi ipistorm=50 tlb=20 timers tsc ioapic mixed=1 exit=0"
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(cpus), "--vm",
                    ctx.vm_file("t", words, kernel=SMP, vcpus=vcpus, torture=seed))
        check_backend(p, BACKEND[cpu], cpus)
        check_status(p, 1)
        check_guest(p.out, vcpus)
        check_report(p, cpus, 10)
    return test


def same_twice(ctx):
    """--icount: one seed gives one run, to the instruction."""
    outs = []
    for _ in range(2):
        p = ctx.run("--cpu", "amd", "--boot", "direct", "--icount", "--vm",
                    ctx.vm_file("t", "one exit=0", torture=11))
        check_status(p, 1)
        check_report(p, 1, 1)
        outs.append([s for s in p.err.splitlines() if s.startswith(b"[")])
    check(outs[0] and outs[0] == outs[1], "the host's log, with its times, differs between two runs")


def tortured(case):
    """Another test with its VMs in torture mode; `tools/dalang test --torture SEED` does so with all."""
    def test(ctx):
        case.function(ctx)
        check(any(REPORT.search(p.err) for p in ctx.programs), "no VM was in torture mode")
    return Case("torture-" + case.name, test, case.seconds, case.memory, case.timeout, torture=1)


ALSO = ("cputest-amd", "cputest-intel", "timer-interrupts",
        "end-poweroff", "end-triple-fault-destroy", "console-echo", "several-vms-4-cpus")

CASES = [
    Case("torture-tiny-amd", tiny("amd", "direct", 2, 7), seconds=5),
    Case("torture-tiny-intel", tiny("intel", "grub", 2, 7), seconds=45, timeout=400),
    Case("torture-amd", cloud("amd", "direct", 2, 42), seconds=20),
    Case("torture-intel", cloud("intel", "grub", 1, 42), seconds=300, timeout=1000),
    Case("torture-smp-amd", smp("amd", "direct", 2, 4, 5), seconds=15, timeout=200),
    Case("torture-smp-intel", smp("intel", "grub", 1, 2, 7), seconds=20, timeout=200),
    Case("torture-linux-smp-amd", cloud("amd", "direct", 2, 43, vcpus=2), seconds=20),
    Case("torture-repeats", same_twice, seconds=10),
]
CASES += [tortured(c) for c in cpu_tests.CASES + ends.CASES if c.name in ALSO]
