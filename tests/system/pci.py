# SPDX-License-Identifier: BSD-2-Clause
"""The PCI bus: a guest of our own that moves BARs and takes every kind of interrupt; Debian's kernel finds what is
there, routes its interrupts, and sees devices come and go."""
import os

import guests
from boots import BACKEND
from harness import ROOT, Case, Failed, check, check_backend, check_status
from kernels import kernel
from lifecycle import Host
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


LIST = (b"cd /sys/bus/pci/devices; for d in *; do echo D ${d#*:} $(cat $d/vendor $d/device $d/irq) "
        b"$(awk '$1 != 0 || $2 != 0 { n++ } END { print n + 0 }' $d/resource) $(awk '/0x/ { print $1; exit }' $d/resource); "
        b"done; echo LISTED\n")
ENABLE = b"echo 1 >/sys/bus/pci/devices/0000:%s/enable; echo E$(cat /sys/bus/pci/devices/0000:%s/irq)\n"
BOARD = {b"00:00.0": (b"0x8086", b"0x29c0"), b"00:1f.0": (b"0x8086", b"0x2918")}
TESTDEV = (b"0x1b36", b"0xda1a")


class Linux:
    """A shell in Debian's kernel, and what sysfs says there."""

    def __init__(self, ctx, *host, words="", name="cloud", **more):
        self.p = ctx.run(*host, "--vm", ctx.vm_file("v", f"{guests.CMDLINE} {words}".strip(), memory=256, testdev=1,
                                                    kernel=kernel(name), ramdisk=f'"{guests.initramfs()}"', **more))
        self.at = 0
        self.booted()

    def booted(self):
        self.at = self.p.expect(guests.PROMPT.strip().encode(), start=self.at).end()

    def ask(self, line, answer):
        self.p.send(line)
        m = self.p.expect(answer, start=self.at)
        self.at = m.end()
        return m

    def devices(self):
        """{slot: (vendor, device, IRQ, BARs, first BAR)}"""
        start = self.at
        self.ask(LIST, rb"^LISTED\r?\n")
        lines = [s.split() for s in self.p.out[start:].splitlines() if s.startswith(b"D ")]
        return {w[1]: tuple(w[2:]) for w in lines}

    def settles(self, slots):
        """ACPI's hotplug is a kernel thread's work: some time later all is as it should be."""
        for i in range(60):
            try:
                return check_devices(self.devices(), slots)
            except Failed:
                if i == 59:
                    raise
            self.ask(b"sleep 1; echo S''LEPT\n", rb"^SLEPT\r?\n")

    def enabled(self, slot):
        return int(self.ask(ENABLE % (slot, slot), rb"^E(\d+)\r?\n").group(1))

    def end(self):
        self.ask(b"echo B$(dmesg | grep -ciE 'BUG:|Call Trace|nobody cared|BAR [0-9]: (no space|failed)')\n", rb"^B0\r?\n")
        self.p.send(b"poweroff -f\n")
        check_status(self.p, 0)


def check_devices(found, slots):
    check(set(found) == set(BOARD) | slots, f"sysfs shows {sorted(found)}")
    for slot, what in found.items():
        check(what[:2] == (TESTDEV if slot in slots else BOARD[slot]), f"{slot} is {what}")
        check(what[3] == (b"4" if slot in slots else b"0"), f"{slot} has {what[3]} BARs")
        check(slot not in slots or what[4] != b"0x0000000000000000", f"{slot} has no address")


def linux(words, irq, name="cloud"):
    """What Linux lists; its INTA after the device is enabled."""
    def test(ctx):
        v = Linux(ctx, "--cpu", "amd", "--boot", "direct", "--host-cpus", "1", words=words, name=name)
        check_devices(v.devices(), {b"00:03.0"})
        got = v.enabled(b"00:03.0")
        check(got == irq, f"INTA of slot 3 is IRQ {got}")
        v.end()
    return test


def hotplug(*how, **more):
    """Plugged in, enabled, and taken out again, twice; the second slot is the first one's again."""
    def test(ctx):
        host = Host(ctx)
        v = Linux(ctx, *how, "--control", host.path, **more)
        check_devices(v.devices(), {b"00:03.0"})
        host.do("pci-attach v testdev")  # slot 4 stays
        for i in range(2):
            said = host.do("pci-attach v testdev")
            check(said[-1].split() == ["5"], f"the monitor said {said}")
            v.settles({b"00:03.0", b"00:04.0", b"00:05.0"})
            check(v.enabled(b"00:05.0") == 21, f"round {i}: INTA of slot 5 is not IRQ 21")
            host.do("pci-detach v 5")
            v.settles({b"00:03.0", b"00:04.0"})
        v.end()
        if "torture" in more:
            check_report(v.p, 2, 10)
    return test


CASES = [
    Case("pci-amd", pcitest("amd", "direct"), 5, timeout=90),
    Case("pci-intel", pcitest("intel", "grub"), 30, timeout=400),
    Case("torture-pci-amd", pcitest("amd", "direct", cpus=2, torture=3), 10, timeout=120),
    Case("torture-pci-intel", pcitest("intel", "grub", torture=3), 45, timeout=400),
    Case("pci-linux", linux("", 23), 10, timeout=120),
    Case("pci-linux-noapic", linux("noapic", 15), 10, timeout=120),
    Case("pci-hotplug-amd", hotplug("--cpu", "amd", "--boot", "direct", "--host-cpus", "2"), 20, timeout=200),
    Case("torture-pci-hotplug", hotplug("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", torture=9, vcpus=2), 30,
         timeout=300),
    # Too long for every change.
    Case("pci-linux-acpi-off", linux("acpi=off", 23, "generic"), 60, timeout=400, soak=True),
    Case("pci-hotplug-intel", hotplug("--cpu", "intel", "--boot", "grub", "--host-cpus", "1"), 200, timeout=1200, soak=True),
]
