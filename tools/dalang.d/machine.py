# SPDX-License-Identifier: BSD-2-Clause
"""Which machine carries the host: nested KVM where it truly works, else QEMU's TCG or Bochs."""
import json
import os
import tempfile
import re
import subprocess

from util import BUILD, USAGE, Fail, say

PROBE = os.path.join(BUILD, "tests", "guests", "kvmprobe.bin")


class Machine:
    """cpu: amd or intel; kind: kvm, tcg or bochs."""

    def __init__(self, cpu, kind):
        self.cpu, self.kind = cpu, kind

    def describe(self):
        return {"kvm": f"QEMU with nested KVM ({'SVM' if self.cpu == 'amd' else 'VMX'})",
                "tcg": f"QEMU with TCG, CPU {os.environ.get('DALANG_TEST_CPU') or 'EPYC'} with SVM",
                "bochs": f"Bochs, CPU {os.environ.get('DALANG_TEST_CPU') or 'corei7_haswell_4770'}"}[self.kind]


def _nested_parameter():
    """None: no KVM module says that it nests. Only a hint, and only its absence is believed."""
    for vendor, cpu in (("kvm_amd", "amd"), ("kvm_intel", "intel")):
        try:
            with open(f"/sys/module/{vendor}/parameters/nested") as f:
                if f.read().strip() in ("1", "Y", "y"):
                    return cpu
        except OSError:
            pass
    return None


def _run_probe():
    """A boot sector in KVM that looks for VMX and SVM itself. Its answer through the debug exit port
    is 0x10 (neither), 0x11 (VMX: CPUID and CR4.VMXE) or 0x12 (SVM with NPT: CPUID and EFER.SVME)."""
    argv = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-M", "pc", "-m", "64",
            "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot",
            "-drive", f"file={PROBE},format=raw,if=none,id=d,snapshot=on", "-device", "ide-hd,drive=d",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    try:
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {(0x11 << 1) | 1: "intel", (0x12 << 1) | 1: "amd"}.get(r.returncode)


def _boot_id():
    try:
        with open("/proc/sys/kernel/random/boot_id") as f:
            return f.read().strip()
    except OSError:
        return ""


def nested_kvm():
    """'amd', 'intel' or None. Asked once a boot of this machine: the answer costs seconds."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK) or not os.path.exists(PROBE):
        return None
    if _nested_parameter() is None and os.path.isdir("/sys/module/kvm"):
        return None
    cache = os.path.join(BUILD, "kvmprobe.json")
    key = [_boot_id(), os.path.getmtime(PROBE)]
    try:
        with open(cache) as f:
            old = json.load(f)
        if old["key"] == key:
            return old["cpu"]
    except (OSError, ValueError, KeyError):
        pass
    cpu = _run_probe()
    with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(cache), delete=False) as f:
        json.dump({"key": key, "cpu": cpu}, f)
    os.replace(f.name, cache)
    return cpu


def pick(opts):
    """The Machine for the command line, or Fail when it asks for what no machine has."""
    nested = None if opts.icount else nested_kvm()
    if opts.cpu == "intel" and opts.icount:
        raise Fail(USAGE, "--icount is QEMU's TCG, which has no VMX; use --cpu amd")
    if opts.cpu == "intel" and opts.boot == "direct" and nested != "intel":
        raise Fail(USAGE, "--boot direct needs QEMU, and without nested KVM VT-x is in Bochs alone; "
                          "use --boot uefi or --boot grub")
    cpu = opts.cpu if opts.cpu != "auto" else nested or "amd"
    if nested == cpu:
        return Machine(cpu, "kvm")
    return Machine(cpu, "tcg" if cpu == "amd" else "bochs")


def meminfo(word):
    """MiB of this machine's memory; word: MemTotal, MemAvailable."""
    try:
        with open("/proc/meminfo") as f:
            return int(re.search(word + r":\s+(\d+)", f.read()).group(1)) // 1024
    except (OSError, AttributeError):
        return 1 << 20


def check_files(boot, pack):
    """What no loader on this way can bring: FAT ends at 4 GiB a file, BIOS and the PVH module at 2 GiB in all."""
    if boot == "uefi":
        name, size = pack.largest()
        if size >= 1 << 32:
            raise Fail(USAGE, f"{name} has {size >> 20} MiB; a file of 4096 or more does not fit on the UEFI volume, "
                              "shrink it")
    elif pack.bytes() >= (1 << 31) - (1 << 20):
        raise Fail(USAGE, f"the VMs' files have {pack.bytes() >> 20} MiB; --boot {boot} loads at most 2046, use "
                          "--boot uefi or smaller files")


def size(opts, machine, pack):
    """Host CPUs and MiB: what was asked for, else enough for the VMs, their files and Dalang."""
    check_files(opts.boot, pack)
    cpus = opts.host_cpus or (1 if opts.icount or machine.kind == "bochs" else 2)
    if opts.icount and cpus != 1:
        raise Fail(USAGE, f"--icount runs one host CPU, not {cpus}: QEMU stalls with more")
    files = pack.bytes() >> 20
    guests = sum(v.memory for v in pack.running())
    # A file is there once; the loader of a boot method may hold it twice for a moment.
    need = 256 + guests + guests // 64 + 2 * files
    mem = opts.host_memory or max(1024, -(-need // 128) * 128)
    if machine.kind == "bochs" and mem > 2048:
        raise Fail(USAGE, f"{mem} MiB of host memory are too much for Bochs, which has at most 2048; "
                          "give the VMs less")
    if mem > meminfo("MemTotal"):
        raise Fail(USAGE, f"the host would need {mem} MiB for these VMs, this machine has {meminfo('MemTotal')}; "
                          "lower their memory or give --host-memory")
    if mem > meminfo("MemAvailable"):
        say(f"warning: the host gets {mem} MiB, more than this machine has free")
    return cpus, mem
