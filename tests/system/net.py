# SPDX-License-Identifier: BSD-2-Clause
"""The network between guests: Debian's kernels and their virtio_net on a bridge."""
import json
import struct

import debian
import guests
from guests import do
from harness import Case, check, check_status
from kernels import kernel
from lifecycle import Host
from torture import check_report
from virtio import MIB, Linux

# The second guest types nothing: it serves, takes a file, and ends when it is told to.
SERVER = """
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set lo up; ip link set eth0 up
ip addr add 10.0.0.2/24 dev eth0; ip -6 addr add fd00::2/64 dev eth0
dd if=/dev/urandom of=/tmp/f bs=64k count={blocks} 2>/dev/null
md5sum </tmp/f >/tmp/f.md5
httpd -h /tmp
! which iperf3 >/dev/null || iperf3 -s >/dev/null 2>&1 &
echo SERVES
nc -l -p 5000 >/tmp/g
md5sum </tmp/g >/tmp/g.md5
nc -l -p 5001
ip -s link show eth0
dmesg | grep -iE '{complaints}|NETDEV WATCHDOG'
echo COMPLAINTS $(dmesg | grep -ciE '{complaints}|NETDEV WATCHDOG')
poweroff -f
"""


class Client(Linux):
    """One of several guests: its lines have its name in front."""

    def run(self, line):
        self.p.send(b"echo B''EGIN; " + line.encode() + b"; echo E''ND $?\n")
        m = self.p.expect(rb"(?s)c: [^\n]*BEGIN\r?\n(.*?)c: [^\n]*END (\d+)\r?\n", start=self.at)
        self.at = m.end()
        text = "\n".join(t[3:] for t in m.group(1).decode().replace("\r", "").split("\n") if t.startswith("c: "))
        check(m.group(2) == b"0", f"`{line}` ended with {m.group(2).decode()}: {text}")
        return text.strip()


def iperf3(c, at, size, before="true"):
    """So many bytes by TCP to the server and back, and what iperf3 says of it; before: a command that runs meanwhile. What waits in the
    two sockets when the sender ends is not counted as received: twice 32 KiB each, as Linux takes -w."""
    for way in ("", "-R"):
        said = c.run(f"{before} & iperf3 -J -i 0 -w 32K -n {size} -c {at} {way}; wait $!")
        got = json.loads(said)
        check("error" not in got, f"iperf3 {way}: {got.get('error')}")
        end = got["end"]
        sent, received = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
        check(sent >= size and sent >= received >= size - (128 << 10), f"iperf3 {way}: {sent} bytes sent, {received} received")


def disks(ctx, kib):
    return f"['{ctx.file('ram.img', bytes(kib << 10))},raw,xvda,rw', 'cow:{ctx.file('cow.img', bytes(kib << 10))},raw,xvdb,rw']"


def load(c, at, size, kib):
    """iperf3 each way beside fio on a disk in memory and on an overlay, which reads back what it has written."""
    fio = (f"fio --thread --rw=randwrite --bs=4k --size={kib}k --direct=1 --ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 "
           "--output-format=terse --name=ram --filename=/dev/vda --name=cow --filename=/dev/vdb")
    iperf3(c, at, size, f"{fio} >/tmp/fio 2>&1")
    said = c.run("cut -d';' -f3,5,6 /tmp/fio")
    check(said.split() == [f"ram;0;{kib}", f"cow;0;{kib}"], f"fio: {said}")


# Of the server: what the test does besides is kept off.
RULES = "[ 'in default deny', 'in allow icmp', 'in allow tcp from 10.0.0.0/8 port 80', 'in allow tcp port 5000-5001', 'in allow tcp from fd00::/64 port 80' ]"


def pair(*host, blocks=16, pings=3, vif="bridge=lan0", guarded=False, tortured=None, **more):
    """Two guests ping each other, by IPv4 and IPv6, and copy a file each way; the mirror has seen it. tortured: bytes for iperf3 and KiB
    for fio, which run in torture mode then."""
    def test(ctx):
        pcap, monitor = ctx.file("net.pcap", ""), Host(ctx)
        files = debian.programs() if tortured else None
        ramdisk = guests.module_initramfs("virtio-net" + "-debian" * bool(files), *guests.NET, files=files)
        server = ctx.vm_file("s", f"{guests.CMDLINE} " + do(SERVER.format(blocks=blocks, complaints=guests.COMPLAINTS)),
                             memory=192, kernel=kernel("cloud"), ramdisk=f'"{ramdisk}"', vif=f"['{vif}']", **({"firewall": RULES} if guarded else {}), **more)
        c = Client(ctx, *host, "--pcap", pcap, "--control", monitor.path, name="c", memory=192, then=["--vm", server], files=files,
                   vif=f"['{vif},ip=10.0.0.1 fd00::1']" if guarded else f"['{vif}']",
                   **({"disk": disks(ctx, tortured[1]), "modules": ("virtio_blk", *guests.NET)} if tortured else {"modules": guests.NET}),
                   **more)
        c.p.expect(rb"s: SERVES")
        c.run("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up; ip addr add 10.0.0.1/24 dev eth0; ip -6 addr add fd00::1/64 dev eth0")
        for command in (f"ping -c {pings} 10.0.0.2", f"ping6 -c {pings} fd00::2", f"ping -c {pings} -s 8000 10.0.0.2"):
            said = c.run(command + " || true")
            check(" 0% packet loss" in said, said)
        for at in ("10.0.0.2", "[fd00::2]"):
            got = c.run(f"wget -q -O - 'http://{at}/f' | md5sum; wget -q -O - 'http://{at}/f.md5'").split()
            check(got[0] == got[2], f"the file from {at} is not what was sent")
        sent = c.run("dd if=/dev/urandom of=/tmp/u bs=64k count=%d 2>/dev/null; md5sum </tmp/u; nc 10.0.0.2 5000 </tmp/u" % blocks)
        got = c.run("while ! wget -q -O - http://10.0.0.2/g.md5 2>/dev/null | grep -- -; do sleep 1; done")
        check(sent.split()[0] == got.split()[0], "the file that was sent is not what arrived")
        said = c.run("cat /sys/class/net/eth0/mtu; cat /sys/class/net/eth0/carrier")
        check(said.split() == ["1500", "1"], f"MTU and carrier: {said}")
        if guarded:
            said = c.run("nc -w 2 10.0.0.2 5002 2>&1 || true")
            check("timed out" in said, f"a port that is kept off: {said}")
            said = c.run("ip addr add 10.0.0.3/24 dev eth0; ping -c 2 -W 2 -I 10.0.0.3 10.0.0.2 || true")
            check(" 100% packet loss" in said, f"an address that is not its own: {said}")
        if tortured:
            for vm in "cs":  # from here on; its first steps come close together
                monitor.do(f"torture {vm} 5")
            load(c, "10.0.0.2", *tortured)
        c.run("echo end | nc 10.0.0.2 5001")
        m = c.p.expect(rb"s: COMPLAINTS (\d+)")
        check(m.group(1) == b"0", "the server's kernel complains")
        c.end()
        check_pcap(pcap, pings)
        if tortured:
            check_report(c.p, int(host[-1]), 10, reports=4 if "torture" in more else 2)
    return test


def check_pcap(path, count):
    """A pcap file of whole records, with each ping and each answer to it once, at times that rise."""
    with open(path, "rb") as f:
        data = f.read()
    check(struct.unpack_from("<IHHiIII", data) == (0xA1B23C4D, 2, 4, 0, 0, 65550, 1), f"its header: {data[:24]}")
    at, last, pings = 24, (0, 0), []
    while at < len(data):
        sec, nsec, kept, size = struct.unpack_from("<IIII", data, at)
        check((sec, nsec) >= last and nsec < 1000000000 and kept == size, f"a record at {at}: {sec}.{nsec}, {kept} of {size}")
        frame = data[at + 16:at + 16 + kept]
        if frame[12:14] == b"\x08\0" and frame[23] == 1 and size == 98:
            pings.append((frame[34], frame[40:42]))  # type, number
        at, last = at + 16 + kept, (sec, nsec)
    check(pings == [(t, bytes([0, n])) for n in range(count) for t in (8, 0)], f"pings in the mirror: {pings}")


CASES = [
    Case("net-amd", pair("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", vif="bridge=lan0.7", guarded=True, vcpus=2), 40,
         timeout=400),
    Case("net-intel", pair("--cpu", "intel", "--boot", "grub", "--host-cpus", "1", blocks=2, pings=1, tortured=(256 << 10, 256)), 180,
         timeout=1200),
    Case("torture-net-amd", pair("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", torture=3, blocks=16, tortured=(2 * MIB, 1024)),
         80, timeout=600),
]
