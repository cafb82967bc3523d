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


def rest(*host, **more):
    """What the other tests of disks and network cards leave out, in one boot without messages: INTx, sizes that change, discard, write
    zeroes, limits, ring reset, and the legacy interface."""
    def test(ctx):
        data, small = noise(1, 4 * MIB), noise(2, MIB)
        m = Monitor(ctx)
        a, b, c = ctx.file("a.img", data), ctx.file("b.img", small), ctx.file("c.img", noise(3, MIB))
        v = Linux(ctx, *host, "--control", m.path, words="pci=nomsi", modules=("virtio_blk", *guests.NET), programs=("vtool",),
                  virtio_transport='"pci-transitional"',
                  disk=f"['{a},raw,xvda,rw', 'cow:{b},raw,xvdb,rw', 'vdev=xvdc,access=ro,iops=100,target={c}', "
                       f"'vdev=xvdd,access=ro,bps=1048576,target={c}']",
                  vif="['bridge=lan0', 'bridge=lan0']", **more)

        def free():
            return m.json("mem")["pools"][1]["free_kib"] >> 10

        def legacy():
            return {line[32] == "0" for line in v.run("cat /sys/bus/virtio/devices/*/features").split("\n")}

        def frames():
            """A card sends, and the other one gets it."""
            before = int(v.run("ip link set eth0 up; ip link set eth1 up; cat /sys/class/net/eth1/statistics/rx_packets"))
            m.until("frames arrive", lambda: int(v.run(
                "udhcpc -i eth0 -n -q -t 1 -T 1 >/dev/null 2>&1; cat /sys/class/net/eth1/statistics/rx_packets")) > before)

        def content(disk):
            return v.run(f"echo 3 >/proc/sys/vm/drop_caches; md5sum </dev/{disk}").split()[0]

        check(content("vda") == md5(data), "vda by INTx")
        check(legacy() == {False}, "not the modern interface")
        lines = v.run("grep -E 'virtio[0-9]' /proc/interrupts").split("\n")
        check(lines and all("IO-APIC" in x and "fasteoi" in x for x in lines), f"interrupts: {lines}")
        frames()

        # Sizes.
        m.do("block-resize v xvdb 24M")
        m.until("vdb has 24 MiB", lambda: v.run("cat /sys/block/vdb/size") == str(24 << 11))
        check("new size" in v.run("dmesg | grep vdb"), "the kernel says nothing of vdb's size")
        check(content("vdb") == md5(small + bytes(23 * MIB)), "vdb, larger")
        m.refuses("block-resize v xvda 8M", "xvda: it can have up to the 4194304 bytes of its file")
        m.refuses("block-resize v xvda 1000", "1000 bytes are not whole sectors of 512")
        m.refuses("block-resize v xvde 1M", "it has no disk xvde")
        for size in (2, 4):
            m.do(f"block-resize v xvda {size}M")
            m.until(f"vda has {size} MiB", lambda: v.run("cat /sys/block/vda/size") == str(size << 11))
            check(content("vda") == md5(data[:size * MIB]), f"vda of {size} MiB")

        # Discard gives memory back; zeroes are written, and need none.
        before = free()
        v.run("dd if=/dev/zero of=/dev/vdb bs=1M count=20 oflag=direct 2>/dev/null")
        full = free()
        check(full <= before - 20, f"20 MiB were written, of {before} MiB {full} are free")
        v.run("blkdiscard /dev/vdb")
        check(free() >= before - 2, f"all was discarded, of {before} MiB {free()} are free")
        v.run("dd if=/dev/vda of=/dev/vdb bs=64k count=16 oflag=direct 2>/dev/null; vtool zero /dev/vdb 69632 131072; vtool zero /dev/vdb 512 1024")
        text = bytearray(data[:MIB])
        text[69632:69632 + 131072] = bytes(131072)
        text[512:1536] = bytes(1024)
        check(v.run("echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vdb bs=64k count=16 2>/dev/null | md5sum").split()[0] == md5(bytes(text)), "zeroes in vdb")

        # By the guest's clock they took as long as the limits say, but for a tenth of a second at once.
        for disk, how in (("vdc", "bs=4k count=80"), ("vdd", "bs=16k count=50")):
            took = v.run(f"blockdev --setra 0 /dev/{disk}; cut -d' ' -f1 /proc/uptime; dd if=/dev/{disk} of=/dev/null {how} 2>/dev/null; "
                         "cut -d' ' -f1 /proc/uptime").split()
            check(float(took[1]) - float(took[0]) >= 0.65, f"{disk} has a limit, and took from {took[0]} to {took[1]}")

        # Each queue of a card is reset, and set up anew with another size.
        for card in ("eth0", "eth1"):
            check(v.run(f"vtool ring {card} 64 32") == "64 32", f"{card}'s rings")
        frames()

        # What drivers of old find.
        v.run("rmmod virtio_blk virtio_net virtio_pci; insmod /modules/virtio_pci.ko force_legacy=1; for n in blk net; do insmod /modules/virtio_$n.ko; done")
        check(legacy() == {True}, "not the legacy interface")
        v.run("dd if=/dev/vdc of=/dev/vda bs=64k seek=5 count=2 oflag=direct 2>/dev/null; sync")
        check(content("vda") == md5(data[:5 << 16] + noise(3, MIB)[:2 << 16] + data[7 << 16:]), "vda by the legacy interface")
        frames()
        v.end()
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
    Case("virtio-rest-amd", rest(*AMD, vcpus=2), 25, timeout=200),
    Case("virtio-packed-amd", tiny(*AMD, words="packed"), 4, timeout=90),
    Case("virtio-mmio-amd", mmio(*AMD, vcpus=2), 20, timeout=200),
    Case("torture-virtio-mmio-amd", mmio(*AMD, vcpus=2, torture=5), 30, timeout=300, soak=True),
]
