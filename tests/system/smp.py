# SPDX-License-Identifier: BSD-2-Clause
"""Several CPUs in one guest: tests/guests/smp.c on the bare emulated machine, which shows that the guest itself is
right, and in VMs."""
import os
import re

from harness import ROOT, Case, check, check_backend, check_status

SMP = os.path.join(ROOT, "build", "tests", "guests", "smp.elf")
WORDS = "warm={warm} warm-bsp ipi ipistorm={ipis} tlb={tlb} timers tsc ioapic rtt steps={steps} mixed=1 exit=0"
# As many checks as these words make on QEMU's bare machine, so that a guest that ends early cannot pass; with x2APIC and
# TSC-deadline there are more.
CHECKS = 60

BARE = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-m", "64",
        "-no-reboot", "-nic", "none", "-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt",
        "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-serial", "stdio", "-kernel", SMP]

# How a machine ends while its CPUs are busy: (words, QEMU's status, dalang's, what dalang says).
ENDS = [
    ("aps=halt poweroff", 0, 0, b"poweroff"),
    ("aps=storm poweroff", 0, 0, b"poweroff"),
    ("aps=storm reboot", 0, 0, b"reboot"),
    ("from=1 aps=storm reboot", 0, 0, b"reboot"),
    ("from=1 aps=spin triple", 0, 0, b"reboot"),
    ("aps=storm triple", 0, 0, b"reboot"),
    ("from=1 aps=storm exit=5", 11, 11, b"debug exit, value 5"),
]


def words(cpus):
    """More CPUs, fewer rounds: all of them take part in each."""
    few = cpus > 8
    return WORDS.format(warm=50 if few else 200, ipis=20 if few else 200, tlb=10 if few else 50,
                        steps=10 if few else 30)


def check_guest(out, cpus, least=CHECKS, who=b""):
    """Every check passed; those that the emulator's bare machine fails are skipped by name."""
    failed = re.findall(rb"SMP: (\S+) FAIL [^\r\n]*", out)
    check(not failed, "failed: " + " ".join(n.decode() for n in failed))
    check(b"SMP: %d CPUs" % cpus in out, f"the guest did not start {cpus} CPUs")
    done = len(re.findall(rb"^%sSMP: \S+ (ok|skip \()" % who, out, re.M))
    check(done >= least, f"the guest made {done} checks, fewer than {least}")


def bare(cpus):
    def test(ctx):
        p = ctx.program([*BARE, "-smp", str(cpus), "-append", "emulator=tcg " + words(cpus)])
        status = p.finish()
        check_guest(p.out, cpus)
        check(status == 1, f"QEMU's status is {status}, not 1")
    return test


def bare_ends(ctx):
    for what, want, _, _ in ENDS:
        p = ctx.program([*BARE, "-smp", "4", "-append", "emulator=tcg " + what])
        status = p.finish()
        check(b"SMP: ending" in p.out and b"FAIL (still" not in p.out, f"{what}: the guest did not get there")
        check(status == want, f"{what}: QEMU's status is {status}, not {want}")


def in_vm(cpu, boot, vcpus, host_cpus):
    """On its own machine every check counts, and there must be an MP table."""
    def test(ctx):
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(host_cpus), "--vcpus", str(vcpus), "--kernel", SMP,
                    "--memory", "64", "--debug-exit", "--cmdline", "mptable=1 " + words(vcpus))
        check_backend(p, {"amd": "svm", "intel": "vmx"}[cpu], host_cpus)
        check_status(p, 1)
        check_guest(p.out, vcpus)
    return test


def vm_ends(ctx):
    for n, (what, _, want, said) in enumerate(ENDS):
        p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", "--vm",
                    ctx.vm_file(f"v{n}", what, kernel=SMP, vcpus=4, on_reboot='"destroy"'))
        check_status(p, want)
        check(b"SMP: ending" in p.out, f"{what}: the guest did not get there")
        check(b"VM v%d: ended, " % n + said in p.err, f"{what}: it did not end by {said.decode()}")


CASES = [
    Case("smp-bare", bare(4), 30, timeout=200),
    Case("smp-bare-ends", bare_ends, 15),
]
# 64 on several host CPUs: SUPPORT.md, "Known flake".
CASES += [Case(f"smp-amd-{v}-on-{h}", in_vm("amd", "direct", v, h), 60, timeout=400, soak=v == 64 and h > 1)
            for v in (2, 8, 64) for h in (1, 2, 4)]
CASES += [Case("smp-intel-2", in_vm("intel", "grub", 2, 1), 60, timeout=400), Case("smp-ends", vm_ends, 40)]
