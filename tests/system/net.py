# SPDX-License-Identifier: BSD-2-Clause
"""The network between guests: Debian's kernels and their virtio_net on a bridge."""
import base64
import re

import guests
from harness import Case, check, check_status
from kernels import kernel
from torture import check_report
from virtio import Linux

# The second guest types nothing: it serves, takes a file, and ends when it is told to.
SERVER = """
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set lo up; ip link set eth0 up
ip addr add 10.0.0.2/24 dev eth0; ip -6 addr add fd00::2/64 dev eth0
dd if=/dev/urandom of=/tmp/f bs=64k count={blocks} 2>/dev/null
md5sum </tmp/f >/tmp/f.md5
httpd -h /tmp
echo SERVES
nc -l -p 5000 >/tmp/g
md5sum </tmp/g >/tmp/g.md5
nc -l -p 5001
ip -s link show eth0
echo COMPLAINTS $(dmesg | grep -ciE '{complaints}|NETDEV WATCHDOG')
poweroff -f
"""


def do(script):
    """The word of a command line that has the guest run a script."""
    return "do=" + base64.b64encode(script.encode()).decode()


class Client(Linux):
    """One of several guests: its lines have its name in front."""

    def run(self, line):
        self.p.send(b"echo B''EGIN; " + line.encode() + b"; echo E''ND $?\n")
        m = self.p.expect(rb"(?s)c: [^\n]*BEGIN\r?\n(.*?)c: [^\n]*END (\d+)\r?\n", start=self.at)
        self.at = m.end()
        text = "\n".join(t[3:] for t in m.group(1).decode().replace("\r", "").split("\n") if t.startswith("c: "))
        check(m.group(2) == b"0", f"`{line}` ended with {m.group(2).decode()}: {text}")
        return text.strip()


def pair(*host, blocks=16, vif="bridge=lan0", **more):
    """Two guests ping each other, by IPv4 and IPv6, and copy a file each way."""
    def test(ctx):
        ramdisk = guests.module_initramfs("virtio-net", *guests.NET)
        server = ctx.vm_file("s", f"{guests.CMDLINE} " + do(SERVER.format(blocks=blocks, complaints=guests.COMPLAINTS)),
                             memory=192, kernel=kernel("cloud"), ramdisk=f'"{ramdisk}"', vif=f"['{vif}']", **more)
        c = Client(ctx, *host, name="c", memory=192, modules=guests.NET, then=["--vm", server], vif=f"['{vif}']", **more)
        c.p.expect(rb"s: SERVES")
        c.run("echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up; ip addr add 10.0.0.1/24 dev eth0; ip -6 addr add fd00::1/64 dev eth0")
        for command in ("ping -c 3 10.0.0.2", "ping6 -c 3 fd00::2", "ping -c 3 -s 8000 10.0.0.2"):
            said = c.run(command + " || true")
            check(" 0% packet loss" in said, said)
        for at in ("10.0.0.2", "[fd00::2]"):
            got = c.run(f"wget -q -O - 'http://{at}/f' | md5sum; wget -q -O - 'http://{at}/f.md5'").split()
            check(got[0] == got[2], f"the file from {at} is not what was sent")
        sent = c.run("dd if=/dev/urandom of=/tmp/u bs=64k count=%d 2>/dev/null; md5sum </tmp/u; nc 10.0.0.2 5000 </tmp/u" % blocks)
        got = c.run("while ! wget -q -O - http://10.0.0.2/g.md5 | grep -- -; do sleep 1; done")
        check(sent.split()[0] == got.split()[0], "the file that was sent is not what arrived")
        said = c.run("cat /sys/class/net/eth0/mtu; cat /sys/class/net/eth0/carrier")
        check(said.split() == ["1500", "1"], f"MTU and carrier: {said}")
        c.run("echo end | nc 10.0.0.2 5001")
        m = c.p.expect(rb"s: COMPLAINTS (\d+)")
        check(m.group(1) == b"0", "the server's kernel complains")
        c.end()
        if "torture" in more:
            check_report(c.p, 2, 10)
    return test


CASES = [
    Case("net-amd", pair("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", vcpus=2), 30, timeout=250),
    Case("net-intel", pair("--cpu", "intel", "--boot", "grub", "--host-cpus", "1", blocks=8), 100, timeout=600),
    Case("torture-net-amd", pair("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", torture=3, blocks=16), 60,
         timeout=400),
]
