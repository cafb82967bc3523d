# SPDX-License-Identifier: BSD-2-Clause
"""Disks and network cards that come and go while Debian's kernel runs, by ACPI's PCI hotplug."""
import os

import guests
from boots import BACKEND
from harness import ROOT, Case, check, check_backend, check_status
from hostdisk import Machine, drive
from lifecycle import Host
from pv import passed
from torture import check_report
from virtio import MIB, Linux, md5, noise

PLUG = os.path.join(ROOT, "build", "tests", "guests", "plug.elf")


def refused(host, line, why):
    _, wrong = host.ask(line)
    check(wrong is not None and why in wrong, f"{line}: {wrong}")


def appears(v, path):
    """ACPI's hotplug is a kernel thread's work."""
    v.run(f"i=0; while ! [ -e {path} ]; do i=$((i+1)); [ $i -lt 60 ] || exit 1; sleep 1; done")


def cards(h, v):
    """A card on the other one's bridge: they hear each other; it goes, and comes again."""
    for line, why in (("network-attach v bridge=lan0 mac=00:16:3e:00:00:01", "its vif 0 has this MAC"),
                      ("network-attach v bridge=lan0 mac=01:16:3e:00:00:01", "the first one even"),
                      ("network-detach v 1", "it has no card 1")):
        refused(h, line, why)
    v.run("ip link set eth0 up; ip addr add 10.0.0.1/24 dev eth0")
    for what in ("1", "00:16:3e:00:00:02"):
        h.do("network-attach v bridge=lan0,mac=00:16:3e:00:00:02")
        appears(v, "/sys/class/net/eth1")
        said = v.run("ip link set eth1 up; cat /sys/class/net/eth1/address /sys/class/net/eth1/carrier; "
                     "arping -D -I eth1 -c 1 -w 9 10.0.0.1; echo")
        check(said.split()[:2] == ["00:16:3e:00:00:02", "1"] and "reply from 10.0.0.1" in said, said)
        h.do(f"network-detach v {what}")
        v.run("[ ! -e /sys/class/net/eth1 ]")
        check(len(h.do("network-list v")) == 2, "its port is still there")
    # Its cable and its bridge are gone at once; then the card.
    h.do("network-attach v bridge=lan0")
    appears(v, "/sys/class/net/eth1")
    v.run("ip link set eth1 up")
    h.do("network-detach -f v 1")
    check(len(h.do("network-list v")) == 2, "its port is still there")
    v.run("i=0; while [ -e /sys/class/net/eth1 ]; do i=$((i+1)); [ $i -lt 60 ] || exit 1; sleep 1; done")


def stays(h, v):
    """What was plugged in is there after a restart."""
    h.do("block-attach v cow:a.img raw xvdb")
    h.do("network-attach v bridge=lan0")
    h.do("reset v")
    v.at = v.p.expect(rb"A busybox shell.*?dalang-guest#", start=v.at).end()
    v.run("[ -e /dev/vdb ] && [ -e /sys/class/net/eth1 ]")


def linux(*host, cpus=1, **more):
    """A disk is plugged in and read, taken out, plugged in again, and torn out under I/O; then network cards."""
    def test(ctx):
        h = Host(ctx)
        data = noise(11, 2 * MIB)
        a = ctx.file("a.img", data)
        slow = drive("slow", ctx.file("slow.img", bytes(MIB)), ",throttling.bps-total=600000", serial="slow")
        v = Linux(Machine(ctx, slow), *host, "--control", h.path, disk=f"['{a},raw,xvda,ro']",
                  modules=("virtio_blk", "virtio-rng", *guests.NET), vif="['bridge=lan0,mac=00:16:3e:00:00:01']", **more)
        name = h.do("block-list v")[1].split()[-1]
        for line, why in ((f"block-attach v {name},raw,xvda,ro", "device name xvda is taken by"),
                          (f"block-attach v {name},raw,xvdb,rw", "another VM reads it; write ro as its access"),
                          ("block-attach v nothing.img,raw,xvdb,ro", "nothing.img: no such file was loaded"),
                          ("block-attach v host:none,raw,xvdb,ro", "none has that serial number"),
                          (f"block-attach v {name},qcow2,xvdb,ro", "qemu-img convert"),
                          (f"block-attach v {name},raw,xvdb,ro color=red", "unknown parameter 'color'"),
                          (f"block-attach v {name}", "disk without a device name"),
                          ("block-detach v xvdb", "it has no disk xvdb")):
            refused(h, line, why)
        h.do(f"block-attach v cow:{name} raw xvdb rw serial=second")
        appears(v, "/dev/vdb")
        check(v.run("md5sum </dev/vdb; cat /sys/block/vdb/serial").split() == [md5(data), "-", "second"], "what is on vdb")
        row = h.do("block-list v")[2].split()
        check(row[2] == "xvdb" and row[4:7] == ["used", "rw", "2048"], f"block-list says {row}")
        h.do("block-detach v xvdb")
        v.run("[ ! -e /dev/vdb ]")
        h.do(f"block-attach v vdev=xvdb access=ro sector=4096 target={name}")
        appears(v, "/dev/vdb")
        check(v.run("md5sum </dev/vdb; cat /sys/block/vdb/ro").split() == [md5(data), "-", "1"], "vdb, for the second time")
        # Asked while it is read: what is in flight ends, the rest fails, and the disk has gone.
        v.p.send(b"while dd if=/dev/vdb of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done; echo S''TOPPED\n")
        h.until("reads", lambda: int(h.do("block-list v")[2].split()[7]) > 100)
        h.do("block-detach v xvdb")
        v.at = v.p.expect(rb"STOPPED", start=v.at).end()
        check(len(h.do("block-list v")) == 2, "it is still there")
        # By force, with requests in flight at a slow disk of the machine's: when those are done it is another's, and the guest
        # lets go of what is left.
        h.do("block-attach v host:slow,raw,xvdb,rw")
        appears(v, "/dev/vdb")
        v.p.send(b"for i in 1 2 3; do while dd if=/dev/zero of=/dev/vdb bs=64k count=4 seek=$((i*4)) oflag=direct 2>/dev/null; "
                 b"do :; done & done; wait; echo S''TOPPED\n")
        h.until("writes", lambda: int(h.do("block-list v")[2].split()[8]) > 5)
        h.do("block-detach --force v xvdb")
        h.do("block-attach v host:slow,raw,xvdc,rw")
        v.at = v.p.expect(rb"STOPPED", start=v.at).end()
        h.until("ejection", lambda: "xvdb" not in "".join(h.do("block-list v")))
        h.do("block-detach v xvdc")
        v.run("dmesg -c >/dev/null")  # it speaks of I/O errors
        cards(h, v)
        stays(h, v)
        v.end()
        if "torture" in more:
            check_report(v.p, cpus, 10)
    return test


def small(*host, cpu, cpus=1, **more):
    """The same without an operating system: a guest of our own, which no emulator is too slow for."""
    def test(ctx):
        h = Host(ctx)
        data = noise(12, 65536)
        total = 0
        for b in data:
            total = (total * 31 + b) & (1 << 64) - 1
        a, spare = ctx.file("a.img", bytes(512)), ctx.file("spare.img", data)
        p = ctx.run(*host, "--control", h.path, "--file", spare, "--vm",
                    ctx.vm_file("p", "", kernel=PLUG, disk=f"['{a},raw,xvda,ro']", vif="['bridge=lan0']", **more))
        check_backend(p, BACKEND[cpu], cpus)
        p.expect(rb"PLUG: ready")
        at = 0
        for target in ("spare.img", "cow:spare.img"):
            h.do(f"block-attach p {target} raw xvdb")
            m = p.expect(rb"PLUG: slot (\d+) disk ([0-9a-f]+)\r?\n", start=at)
            check(int(m.group(2), 16) == total, f"it read {m.group(2)}, not {total:x}")
            h.do("block-detach p xvdb")
            at = p.expect(rb"PLUG: slot %s gone" % m.group(1), start=at).end()
        h.do("network-attach p bridge=lan0 mac=02:16:3e:00:00:01")
        m = p.expect(rb"PLUG: slot (\d+) card 2163e000001\r?\n", start=at)
        h.do("network-detach p 1")
        p.expect(rb"PLUG: slot %s gone" % m.group(1), start=at)
        passed(p, 16)
        h.do("destroy p")
        check_status(p, 0)
        if "torture" in more:
            check_report(p, cpus, 1)
    return test


AMD = ("--cpu", "amd", "--boot", "direct", "--host-cpus", "2")
INTEL = ("--cpu", "intel", "--boot", "grub", "--host-cpus", "1")
CASES = [
    Case("hotplug-amd", small("--cpu", "amd", "--boot", "uefi", "--host-cpus", "2", cpu="amd", cpus=2), 10, timeout=90),
    Case("hotplug-intel", small(*INTEL, cpu="intel"), 20, timeout=300),
    Case("torture-hotplug-amd", small(*AMD, cpu="amd", cpus=2, torture=6), 8, timeout=120),
    Case("hotplug-linux-amd", linux(*AMD, vcpus=2), 40, timeout=300),
]
