# SPDX-License-Identifier: BSD-2-Clause
"""Every way from power-on to a guest: firmware, loader, vendor, number of CPUs; and stock guests."""
import os
import time

import guests
from harness import TINY, Case, Skip, check, check_backend, check_status
from util import SHARED, guest_file

BACKEND = {"amd": "svm", "intel": "vmx"}
CHECKS = (b"ram", b"mmio", b"pit-interrupt", b"extint-message", b"lapic-timer", b"memtest", b"msr-faults", b"msr-values",
          b"caches", b"ticks")


def tiny(cpu, boot, cpus):
    """Our own guest: it looks at its machine, then leaves by the debug exit port."""
    def test(ctx):
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(cpus), "--kernel", TINY, "--memory", "64",
                    "--ramdisk", ctx.file("rd", b"x" * 5000), "--cmdline", "one memtest msrs ticks=200 exit=5", "--debug-exit")
        check_backend(p, BACKEND[cpu], cpus)
        check_status(p, 11)
        for c in CHECKS:
            check(b"TINY: " + c + b" ok" in p.out, f"the guest's check of {c.decode()} did not pass")
        check(b"by multiboot1" in p.out and b"first has bytes 5000\r\n" in p.out, "the ramdisk is not module 1")
        check(b"TINY: cmdline tiny.elf one memtest msrs ticks=200 exit=5\r\n" in p.out, "the command line is not FILE WORDS")
        check(b"TINY: " not in p.err, "guest output on standard error")
    return test


def five_gib(ctx):
    """A guest with more RAM than fits below 4 GiB: a pattern at each edge of its memory map."""
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "1", "--kernel", TINY, "--host-memory", "7168",
                "--memory", "5120", "--cmdline", "memtest exit=5", "--debug-exit")
    check_status(p, 11)
    check(b"places up to 6144 MiB\r\nTINY: memtest ok" in p.out, "memory at some edge is not what was written")


def cloud(cpu, boot, cpus, vcpus=1):
    """Debian's cloud kernel to a shell that we type into."""
    def test(ctx):
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(cpus), "--kernel", guest_file("vmlinuz"),
                    "--ramdisk", guests.initramfs(), "--cmdline", guests.CMDLINE, "--vcpus", str(vcpus),
                    "--memory", "256")
        check_backend(p, BACKEND[cpu], cpus)
        prompt = guests.PROMPT.strip().encode()
        m = p.expect(prompt)
        p.send(b"echo $((6*7))-$(nproc)-$(uname -m)\n")
        m = p.expect(rb"^42-%d-x86_64" % vcpus, start=m.end())
        m = p.expect(prompt, start=m.end())
        # Linux leaves kvm-clock for a TSC that CPUID calls invariant, which that of Bochs' CPU is and TCG's is not.
        p.send(b"echo clock-$(dmesg | grep -c 'Hypervisor detected: KVM')-$(dmesg | grep -c 'Switched to clocksource "
               b"kvm-clock')-$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)\n")
        m = p.expect(rb"^clock-1-1-" + (b"kvm-clock" if cpu == "amd" else b"tsc"), start=m.end())
        m = p.expect(prompt, start=m.end())
        p.send(b"poweroff -f\n")
        check_status(p, 0)
    return test


def wall_clock(hpet):
    """The guest's RTC tells the time of day, goes on telling it, and wakes at its alarm: by its own interrupt,
    and by the HPET's in its place."""
    def test(ctx):
        ctx.vm_file("a", guests.CMDLINE, kernel=guest_file("vmlinuz"), ramdisk=f'"{guests.initramfs()}"', memory=256,
                    hpet=hpet)
        p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "1", "--vm", "a.cfg")
        m = p.expect(guests.PROMPT.strip().encode())
        p.send(b"cd /sys/class/rtc/rtc0; ls /sys/firmware/acpi/tables | grep -c HPET\n")
        m = p.expect(rb"^%d\s" % hpet, start=m.end())
        seen = []
        for _ in range(2):
            sent = time.time()
            p.send(b"sleep 4; echo epoch: $(cat since_epoch) $(cut -d' ' -f1 /proc/uptime)\n")
            m = p.expect(rb"^epoch: (\d+) ([\d.]+)\s", start=m.end())
            got = time.time()
            # Whole seconds of the host's RTC, of the guest's. Either machine may be slow to tell.
            check(sent + 4 - 2.5 < int(m.group(1)) < got + 1, f"the RTC read {m.group(1)} between {sent} and {got}")
            seen.append((sent + 4, got, float(m.group(2))))
        (sent, got, up), (sent2, got2, up2) = seen
        check((sent2 - got) * 0.98 < up2 - up < (got2 - sent) * 1.02,
              f"{up2 - up:.2f} s of the guest in {sent2 - got:.2f} to {got2 - sent:.2f} s")
        p.send(b"echo +2 >wakealarm; echo armed:[$(cat wakealarm)]; sleep 4; "
               b"echo then:[$(cat wakealarm)] $(awk '/rtc0/ {print $2}' /proc/interrupts)\n")
        m = p.expect(rb"^armed:\[\d+\]", start=m.end())
        p.expect(rb"^then:\[\] [1-9]", start=m.end())
        p.send(b"poweroff -f\n")
        check_status(p, 0)
    return test


def five_levels(ctx):
    """The cloud kernel on a CPU with 5-level paging: it switches it on, and says so by keeping the flag."""
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "1", "--kernel", guest_file("vmlinuz"),
                "--ramdisk", guests.initramfs(), "--cmdline", guests.CMDLINE, "--memory", "256",
                env={"DALANG_TEST_CPU": "max,la57=on"})
    m = p.expect(guests.PROMPT.strip().encode())
    p.send(b"echo la57: $(grep -c -w la57 /proc/cpuinfo)\n")
    p.expect(rb"^la57: 1", start=m.end())
    p.send(b"poweroff -f\n")
    check_status(p, 0)


def exitbench(cpu, boot, name, how=None, icount=False):
    """The exit benchmark as a guest that was not written for us."""
    def test(ctx):
        kernel = os.path.join(SHARED, "exitbench", name)
        if not os.path.exists(kernel):
            raise Skip(f"{kernel} is not there")
        more = {"type": '"pvh"'} if how == "pvh" else {}
        cfg = ctx.vm_file("exitbench", kernel=kernel, **more)
        p = ctx.run("--cpu", cpu, "--boot", boot, "--vm", cfg, "--host-cpus", "1",
                    *(["--icount"] if icount else []))
        p.expect(rb"EXITBENCH DONE")
        check_status(p, 1)
    return test


def _cases():
    out = []
    for cpu, boot, cpus, seconds in (
            ("amd", "uefi", 1, 12), ("amd", "uefi", 2, 12), ("amd", "uefi", 4, 15), ("amd", "grub", 2, 10),
            ("amd", "grub", 4, 12), ("amd", "direct", 1, 6), ("amd", "direct", 2, 6), ("intel", "uefi", 1, 50),
            ("intel", "grub", 1, 25), ("intel", "grub", 2, 40)):
        out.append(Case(f"tiny-{cpu}-{boot}-{cpus}", tiny(cpu, boot, cpus), seconds,
                        timeout=400 if cpu == "intel" else 180))
    out.append(Case("guest-5-gib", five_gib, 60, memory=7600, timeout=240))
    # That with GRUB in Bochs is for make soak: kernel-cloud-intel boots the same.
    for cpu, boot, cpus, vcpus, seconds in (
            ("amd", "uefi", 2, 1, 60), ("amd", "grub", 1, 1, 60), ("amd", "direct", 2, 1, 50),
            ("intel", "uefi", 1, 1, 300), ("intel", "grub", 1, 1, 280)):
        out.append(Case(f"cloud-{cpu}-{boot}", cloud(cpu, boot, cpus, vcpus), seconds,
                        timeout=1000 if cpu == "intel" else 400, soak=(cpu, boot) == ("intel", "grub")))
    out.append(Case("cloud-amd-la57", five_levels, 20, timeout=300))
    out += [Case(f"cloud-amd-wall-clock-{name}", wall_clock(hpet), 30, timeout=300)
            for name, hpet in (("rtc", 0), ("hpet", 1))]
    for cpu, boot, seconds in (("amd", "direct", 30), ("intel", "grub", 150)):
        for name, how in (("exitbench.elf", "multiboot1"), ("exitbench.elf", "pvh"), ("exitbench.bz", "linux64")):
            out.append(Case(f"exitbench-{cpu}-{how}", exitbench(cpu, boot, name, how), seconds,
                            timeout=900 if cpu == "intel" else 300))
    return out


CASES = _cases()
