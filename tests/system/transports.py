# SPDX-License-Identifier: BSD-2-Clause
"""virtio's other ways to a driver than PCI with messages."""
import os
import struct

import guests
from harness import ROOT, Case, check, check_status
from monitor import Monitor
from torture import check_report
from virtio import AMD, MIB, Linux, md5, noise

VBENCH = os.path.join(ROOT, "build", "tests", "guests", "vbench.elf")


def mmio(*host, **more):
    """A VM that has every kind of device on MMIO: its kernel finds them by ACPI."""
    def test(ctx):
        data = noise(1, 4 * MIB)
        m = Monitor(ctx)
        disk, other = ctx.file("a.img", data), ctx.file("b.img", noise(2, 64 << 10))
        v = Linux(ctx, *host, "--control", m.path, modules=("virtio_blk", "virtio-rng", "virtio_balloon", "virtio_console", *guests.NET),
                  virtio_transport='"mmio"', disk=f"['{disk},raw,xvda,rw', '{other},raw,xvdb,ro']", rng=1, balloon=1, pv_console=1,
                  vif="['bridge=lan0,mac=52:54:00:00:00:07']", **more)
        where = v.run("cd /sys/bus/virtio/devices; for d in virtio*; do echo $(cat $d/device) $(readlink -f $d | grep -o 'LNRO0005:0.'); done")
        there = sorted(where.split("\n"))
        kinds = sorted(line.split()[0] for line in there)
        check(kinds == ["0x0001", "0x0002", "0x0002", "0x0003", "0x0004", "0x0005"], f"devices: {there}")
        check(len({line.split()[1] for line in there}) == 6, f"not each at a window of its own: {there}")
        windows = [line for line in m.do("regions v") if "feb0" in line]
        check(len(windows) == 6 and windows[0].split()[1:] == ["feb00000-feb001ff", windows[0].split()[2]], f"regions: {windows}")
        check(v.run("md5sum </dev/vda").split()[0] == md5(data), "vda is not what is in the file")
        v.run("dd if=/dev/vdb of=/dev/vda bs=64k seek=3 oflag=direct 2>/dev/null; sync; echo 3 >/proc/sys/vm/drop_caches")
        now = data[:3 << 16] + noise(2, 64 << 10) + data[4 << 16:]
        check(v.run("md5sum </dev/vda").split()[0] == md5(now), "what was written to vda")
        check(len(v.run("dd if=/dev/hwrng bs=64 count=1 2>/dev/null | md5sum")) > 32, "no random bytes")
        check(v.run("cat /sys/class/net/eth0/address") == "52:54:00:00:00:07", "the network card's address")
        # Unused, it asks for an address: frames go out, and their buffers come back.
        v.run("ip link set eth0 up; udhcpc -i eth0 -n -q -t 2 -T 1 >/dev/null 2>&1 || true")
        sent = int(v.run("cat /sys/class/net/eth0/statistics/tx_packets"))
        check(sent >= 2, f"{sent} frames were sent")
        v.run("echo hvc is here >/dev/hvc0")
        v.p.expect(rb"^v:pv: hvc is here")
        m.do("mem-set v 192")
        m.until("the balloon leaves 192 MiB", lambda: m.json("list v")["vms"][0]["memory"] == 192)
        lines = v.run("grep -E 'virtio[0-9]' /proc/interrupts").split("\n")
        check(len(lines) == 6 and all("IO-APIC" in x and "fasteoi" in x for x in lines), f"interrupts: {lines}")
        check(sum(int(n) for n in lines[0].split()[1:3]) > 0, f"no interrupt: {lines[0]}")
        v.end()
        if "torture" in more:
            check_report(v.p, 2, 10)
    return test


def tiny(*host, words="", **more):
    """Our own driver: split or packed rings, a queue that is reset and set up anew, and what it read."""
    def test(ctx):
        data = noise(3, MIB)
        p = ctx.run(*host, "--vm", ctx.vm_file("v", f"check {words}".strip(), kernel=VBENCH, disk=f"['{ctx.file('a.img', data)},raw,xvda,rw']", **more))
        p.expect(b"VBENCH sum %d\r?\n" % (sum(struct.unpack("<16384Q", data[:128 << 10])) % (1 << 64)))
        p.expect(b"VBENCH done")
        check_status(p, 1)
    return test


INTEL = ("--cpu", "intel", "--boot", "grub", "--host-cpus", "1")
MMIO = {"virtio_transport": '"mmio"'}
CASES = [
    Case("virtio-mmio-intel", tiny(*INTEL, words="mmio", **MMIO), 20, timeout=300),
    Case("virtio-packed-mmio-amd", tiny(*AMD, words="packed mmio", **MMIO), 4, timeout=90),
    Case("virtio-packed-amd", tiny(*AMD, words="packed"), 4, timeout=90),
    Case("virtio-mmio-amd", mmio(*AMD, vcpus=2), 20, timeout=200),
    Case("torture-virtio-mmio-amd", mmio(*AMD, vcpus=2, torture=5), 30, timeout=300),
]
