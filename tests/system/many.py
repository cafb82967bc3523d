# SPDX-License-Identifier: BSD-2-Clause
"""Linux with several vCPUs, and many such VMs on few host CPUs: each reaches its userspace, has nothing to
complain of, and powers off."""
import re

import guests
from boots import BACKEND
from harness import Case, check, check_backend, check_status
from util import guest_file


def vms(cpu, boot, host_cpus, host_memory, n, vcpus, clocks, memory=128, word="check", model=None, **more):
    def test(ctx):
        files, ramdisk = [], guests.kexec_initramfs() if word == "kexec" else guests.initramfs()
        for i in range(n):
            files += ["--vm", ctx.vm_file(f"m{i}", f"console=ttyS0 quiet panic=-1 {word}", kernel=guest_file("vmlinuz"),
                                          ramdisk=f'"{ramdisk}"', memory=memory, vcpus=vcpus, debug_exit=0, **more)]
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(host_cpus), "--host-memory", str(host_memory),
                    *files, env={"DALANG_TEST_CPU": model} if model else None)
        check_backend(p, BACKEND[cpu], host_cpus)
        check_status(p, 0)
        said = re.findall(rb"CHECK cpus=(\d+) clock=(\S+) complaints=(\d+)", p.out)
        check(len(said) == n, f"{len(said)} of {n} kernels reached userspace")
        boots = len(re.findall(rb"Linux \S+, %d CPU\(s\)" % vcpus, p.out))
        check(boots == n * (2 if word == "kexec" else 1), f"{boots} kernels reached userspace with all CPUs")
        for cpus, clock, complaints in said:
            check(int(cpus) == vcpus, f"a kernel has {cpus} CPUs of {vcpus}")
            check(clock.decode() in clocks, f"its clock is {clock}")
            check(complaints == b"0", "a kernel complains: " + " | ".join(
                t.decode("utf-8", "replace") for t in re.findall(rb"\[ *\d+\.\d+\] (?:%s)" %
                                                                 guests.COMPLAINTS.encode(), p.out)))
    return test


CASES = [
    Case("many-vms-amd", vms("amd", "direct", 2, 4096, 16, 2, ("kvm-clock",)), 100, memory=5000, timeout=500),
    # Bochs' CPUs have an invariant TSC, which Linux prefers.
    Case("many-vms-intel", vms("intel", "grub", 1, 1024, 4, 2, ("kvm-clock", "tsc")), 250, timeout=800),
    # From Linux into Linux: the second kernel finds its CPUs, its clock and its interrupts as the first left them.
    Case("kexec-amd", vms("amd", "direct", 2, 1024, 1, 4, ("kvm-clock",), memory=256, word="kexec"), 40, timeout=300),
    Case("kexec-intel", vms("intel", "grub", 1, 1024, 1, 2, ("kvm-clock", "tsc"), memory=256, word="kexec"), 250,
         timeout=900, soak=True),
    # Its TSC has another frequency than the host's, which Bochs' CPU can do, and Linux relies on it alone.
    Case("linux-tsc-scaled", vms("intel", "grub", 1, 1024, 1, 2, ("tsc",), memory=256, model="corei7_skylake_x",
                                 tsc_khz=2000000), 120, timeout=600, soak=True),
    Case("linux-8-vcpus", vms("amd", "direct", 2, 1024, 1, 8, ("kvm-clock",), memory=256), 20, timeout=200),
]
