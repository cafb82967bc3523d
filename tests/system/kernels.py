# SPDX-License-Identifier: BSD-2-Clause
"""Debian's kernels with nothing but console=ttyS0, and with the options that take a clock or an interrupt
controller away: each reaches /init, and none warns of more than it does on the bare emulated machine."""
import os
import re
import subprocess
import threading

import bare
from harness import ROOT, Case, Failed, Skip, check, check_backend, check_status
from util import GUEST_DIR, guest_file

CMDLINE = "console=ttyS0"
OPTIONS = ("acpi=off", "noapic", "nolapic", "hpet=off", "tsc=unstable")
KERNELS = ("generic", "rt", "686", "686-pae")
FETCHING = threading.Lock()  # two tests side by side would unpack into one folder

# Warnings that the VM may give and the bare machine does not: (pattern, why).
ALLOWED = ()


def kernel(name):
    """The file of a kernel; those that the demo does not need are fetched when a test first wants them."""
    if name == "cloud":
        return guest_file("vmlinuz")
    path = os.path.join(GUEST_DIR, "vmlinuz-" + name)
    with FETCHING:
        if not os.path.exists(path):
            r = subprocess.run([os.path.join(ROOT, "tools", "setup"), name], capture_output=True, text=True, check=False)
            if r.returncode:
                raise Skip(f"cannot fetch the kernel: {r.stderr.strip().splitlines()[-1:]}")
    return path


def normal(text):
    """A warning without what may differ from machine to machine: numbers."""
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|(?<=\(from )[0-9a-f]{4}(?=\))|\d+(\.\d+)?", "N", text)


def in_vm(ctx, cpu, boot, name, options, *more):
    p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", "1", "--kernel", kernel(name), "--ramdisk",
                bare.initramfs(), "--cmdline", f"{CMDLINE} {options}".strip(), "--memory", "256", "--debug-exit", *more)
    check_backend(p, "svm" if cpu == "amd" else "vmx", 1)
    check_status(p, 1)
    log = [s for s in p.err.splitlines() if re.match(rb"\[[0-9. ]+\] (warn|error|panic)", s)]
    check(not log, f"the hypervisor complained: {log}")
    return bare.Report(p.out.decode("utf-8", "replace"))


def boots(name, options="", cpu="amd", boot="direct"):
    """It reaches /init."""
    def test(ctx):
        in_vm(ctx, cpu, boot, name, options)
    return test


def compared(name, options="", said=None):
    """It reaches /init, and its log has no line of level warning or worse that the bare machine's has not, and
    says what it should. Both with icount: a clock that fails to calibrate on a busy build machine is no finding. In
    torture mode /init is all that counts: a step holds the guest up for long enough to spoil a calibration."""
    def test(ctx):
        vm = in_vm(ctx, "amd", "direct", name, options, "--icount")
        if ctx.case.torture is not None:
            return
        text, _ = bare.run(kernel(name), f"{CMDLINE} {options}".strip(), ctx.case.timeout / 2)
        there = bare.Report(text)
        check(not said or re.search(said, vm.text), f"the kernel did not say: {said}")
        check(vm.version == there.version, f"two kernels: {vm.version}, {there.version}")
        known = {normal(t) for _, t in there.warnings}
        new = [f"<{level}> {t}" for level, t in vm.warnings
               if normal(t) not in known and not any(re.search(a, t) for a, _ in ALLOWED)]
        ctx.log.write(("bare machine:\n" + "\n".join(f"<{n}> {t}" for n, t in there.warnings) + "\n").encode())
        if new:
            raise Failed("the bare machine does not say: " + " | ".join(new))
    return test


def _name(kernel_name, options=""):
    return f"kernel-{kernel_name}" + (f"-{options.replace('=', '-')}" if options else "")


CASES = [Case(_name("cloud", o), compared("cloud", o), seconds=30, timeout=300) for o in ("", *OPTIONS)]
CASES += [Case(_name("cloud", "clocksource=hpet"),
               compared("cloud", "clocksource=hpet", "Switched to clocksource hpet"), seconds=30, timeout=300)]
CASES += [Case(_name("generic"), compared("generic"), seconds=50, timeout=400)]
# The cloud kernel reads no MP table.
CASES += [Case(_name("generic", "acpi=off"), compared("generic", "acpi=off", "found SMP MP-table"), seconds=50,
               timeout=400)]
CASES += [Case(_name(k), boots(k), seconds=30, timeout=400) for k in KERNELS[1:]]
CASES += [Case(_name("cloud-intel"), boots("cloud", cpu="intel", boot="grub"), seconds=120, timeout=900)]
# Too long for every change: `make soak`.
CASES += [Case(_name(k, o), compared(k, o), seconds=90, timeout=900, soak=True) for k in KERNELS for o in OPTIONS
          if (k, o) != ("generic", "acpi=off")]
CASES += [Case(_name(k, "compared"), compared(k), seconds=90, timeout=900, soak=True) for k in KERNELS[1:]]
CASES += [Case(_name("generic-intel"), boots("generic", cpu="intel", boot="grub"), seconds=300, timeout=1800, soak=True)]
