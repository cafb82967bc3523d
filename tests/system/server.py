# SPDX-License-Identifier: BSD-2-Clause
"""The server guest of tools/mkguest: Debian 12 from a disk, systemd and nginx, fio that verifies what it wrote."""
import os
import re
import urllib.request

import guests
from debian import image, programs
from harness import Case, check, check_status
from hostdisk import Machine
from lifecycle import Host
from net import Client, iperf3
from uplink import free_port
from virtio import MIB, md5

FIO = ("fio --rw=randwrite --bs=4k --size={size}M --direct=1 --ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 "
       "--randseed=7 --output-format=terse --name={name} --filename={file}")
CMDLINE = "root=/dev/vda1 rw console=ttyS0,115200 quiet panic=-1"


class Server:
    """A root shell on its console."""

    def __init__(self, ctx, root, disks=(), options=(), **more):
        stem = image(ctx)
        specs = [root.replace("IMAGE", stem + ".img"), *disks]
        words = [f"format=raw,vdev=xvd{chr(97 + i)},access=rw,target={s}" for i, s in enumerate(specs)]
        self.p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", *options, "--vm",
                         ctx.vm_file("server", CMDLINE, kernel=stem + ".vmlinuz", ramdisk=f'"{stem}.initrd"', memory=256,
                                     debug_exit=0, disk=words, **more))
        self._at = self.p.expect(rb"root@server:~# ").end()

    def run(self, line):
        """What a shell's line prints."""
        self.p.send(b"echo B''EGIN; " + line.encode() + b"; echo E''ND $?\n")
        m = self.p.expect(rb"BEGIN\r?\n(.*?)END (\d+)\r?\n", start=self._at)
        self._at = m.end()
        text = re.sub(rb"\x1b\[[?0-9;]*[a-zA-Z]|\r", b"", m.group(1)).decode().strip()
        check(m.group(2) == b"0", f"`{line}` ended with {m.group(2).decode()}: {text}")
        return text

    def fio(self, name, file, size):
        """What it wrote to the file is read back and compared."""
        got = self.run(FIO.format(name=name, file=file, size=size)).splitlines()[-1].split(";")
        check(got[2:5] == [name, "0", "0"], f"fio on {file}: {got[:5]}")
        check(got[5] == str(size << 10), f"fio on {file} has read {got[5]} of {size << 10} KiB back")

    def sound(self):
        """All units are up, the kernel has nothing to complain of, and nginx serves its page."""
        failed = self.run("systemctl --failed --plain --no-legend")
        check(failed == "", f"units failed: {failed}")
        said = self.run("dmesg | grep -ciE 'BUG:|Call Trace|nobody cared|I/O error|EXT4-fs error|timed out' || true")
        check(said == "0", "the kernel complains: " + self.run("dmesg | tail -20"))
        check("Welcome to nginx" in self.run("curl -s http://127.0.0.1/"), "nginx' page")

    def end(self):
        self.p.send(b"poweroff\n")
        check_status(self.p, 0)


def scratch(ctx, name, mib):
    path = ctx.file(name, b"")
    os.truncate(path, mib << 20)
    return path


def in_memory(ctx):
    """Root is an overlay; fio on it, on a disk in memory and on an overlay over one."""
    a, b = scratch(ctx, "a.img", 8), scratch(ctx, "b.img", 8)
    s = Server(ctx, "cow:ram:IMAGE", [f"ram:{a}", f"cow:{b}"])
    s.sound()
    s.fio("root", "/var/fio", 4)
    s.fio("ram", "/dev/vdb", 8)
    s.fio("cow", "/dev/vdc", 8)
    s.end()


def on_machine(ctx):
    """Root is a disk of the machine's: what was synced is in the file when the machine is gone, and its file system is sound."""
    copy = os.path.join(ctx.dir, "root,1.img")
    ctx.command("cp", "--sparse=always", image(ctx) + ".img", copy)
    s = Server(ctx, "host:disk0", options=["--host-disk", copy])
    s.sound()
    s.fio("machine", "/var/fio", 8)
    s.run("echo once upon a time >/root/marker; sync")
    s.end()
    at = copy + "?offset=1048576"
    said = ctx.command("debugfs", "-R", "cat /root/marker", at).out
    check(said == b"once upon a time\n", f"the marker in the file below: {said}")
    ctx.command("e2fsck", "-f", "-n", at)


def network(ctx):
    """By the switch: its page for a second guest, and as much TCP as iperf3 sends each way; by the uplink: the page for this machine."""
    forward, monitor = free_port(), Host(ctx)
    stem = image(ctx)
    server = ctx.vm_file("server", CMDLINE + " ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:none systemd.wants=iperf3.service",
                         kernel=stem + ".vmlinuz", ramdisk=f'"{stem}.initrd"', memory=256, debug_exit=0, vif="['bridge=lan0']",
                         disk=[f"format=raw,vdev=xvda,access=rw,target=cow:ram:{stem}.img"])
    m = Machine(ctx, f"-netdev user,id=up,hostfwd=tcp:127.0.0.1:{forward}-10.0.2.15:80 -device virtio-net-pci,netdev=up",
                others=[server])
    m.env["DALANG_TEST_UPLINK"] = "bridge=lan0"
    c = Client(m, "--cpu", "amd", "--boot", "direct", "--host-cpus", "2", "--control", monitor.path, name="c", memory=192,
               modules=guests.NET, files=programs(), vif="['bridge=lan0']")
    c.run("ip link set eth0 up; ip addr add 10.0.2.16/24 dev eth0")
    page = c.run("while ! wget -q -O /tmp/page http://10.0.2.15/ 2>/dev/null; do sleep 1; done; md5sum </tmp/page; cat /tmp/page")
    check("Welcome to nginx" in page, f"nginx' page in the second guest: {page}")
    with urllib.request.urlopen(f"http://127.0.0.1:{forward}/", timeout=60) as r:
        got = r.read()
    check(md5(got) == page.split()[0], f"nginx' page on this machine is not the second guest's: {got}")
    c.run("until iperf3 -n 4K -c 10.0.2.15 >/dev/null; do sleep 1; done")
    iperf3(c, "10.0.2.15", 8 * MIB)
    monitor.do("shutdown server")
    c.p.expect(rb"VM server: ended, poweroff", "err")
    c.end()


CASES = [
    # Whoever comes first builds the image: one to three minutes of it.
    Case("server-amd", in_memory, seconds=300, memory=2500, timeout=1500),
    Case("server-net-amd", network, seconds=50, memory=2500, timeout=1500),
    Case("server-host-disk-amd", on_machine, seconds=60, memory=2500, timeout=1500),
]
