# SPDX-License-Identifier: BSD-2-Clause
"""virtio's sockets: Debian's kernels talk with each other and with the monitor (tests/guests/vsock.c)."""
import json

import guests
from guests import do
from harness import Case, check
from kernels import kernel
from monitor import Monitor
from net import Client
from torture import check_report

SERVER = "exec vsock serve 1000"
# Its file names the server, but the server's does not name it; nor may it talk to the monitor.
STRANGER = "echo TO-PEER $(vsock send 5 1000 10); echo TO-HOST $(vsock ask list); poweroff -f"


def guest(ctx, name, script, vsock, **more):
    ramdisk = guests.module_initramfs("virtio-vsock", *guests.VSOCK, programs=("vsock",))
    return ctx.vm_file(name, f"{guests.CMDLINE} " + do(script), memory=128, kernel=kernel("cloud"), ramdisk=f'"{ramdisk}"',
                       vsock=f"['{vsock}']", **more)


def talk(*host, size, stranger=False, cpus=2, **more):
    """A stream there and back, several at once, who is refused, verbs, and a peer that goes."""
    def test(ctx):
        m = Monitor(ctx)
        others = [guest(ctx, "s", SERVER, "cid=5,peers=x c", **more)]
        if stranger:
            others.append(guest(ctx, "x", STRANGER, "peers=*"))
        c = Client(ctx, *host, "--control", m.path, name="c", memory=128, modules=guests.VSOCK, programs=("vsock",),
                   then=[w for f in others for w in ("--vm", f)], vsock="['peers=*,monitor=1']", **more)
        c.p.expect(rb"s: SERVES")
        check(c.run(f"vsock send 5 1000 {size}") == f"back: {size}", "a stream")
        check(c.run("vsock send 5 1000 0; vsock send 5 1000 1").split() == ["back:", "0", "back:", "1"], "short ones")
        check(c.run("vsock send 5 1001 1 || true") == "FAILED: 104", "a port where nobody listens")
        check(c.run("vsock send 6 1000 1 || true") == "FAILED: 104", "a CID that is nobody's")
        if stranger:
            c.p.expect(rb"x: TO-PEER FAILED: 104")
            c.p.expect(rb"x: TO-HOST FAILED: 104")
        said = [json.loads(line) for line in c.run("vsock ask list 'stat s' '' 'console s' nonsense").split("\n")]
        check({"c", "s"} <= {vm["name"] for vm in said[0]["vms"]}, f"list: {said[0]}")
        check(said[1]["vsock_cid"] == 5 and said[1]["vsock_received_bytes"] == size + 1 and said[1]["vsock_resets"] == 0, f"stat: {said[1]}")
        check(len(said) == 4 and all("error" in a for a in said[2:]), f"what it refuses: {said[2:]}")
        c.p.send(b"vsock hold 5 1000 &\n")
        c.p.expect(rb"HOLDS\r?\n")
        check("{}" in c.run("vsock ask 'destroy s'"), "destroy")
        c.p.expect(rb"ended: 0\r?\n")
        check(c.run("vsock send 5 1000 1 || true") == "FAILED: 104", "one that is gone")
        c.end()
        if "torture" in more:
            check_report(c.p, 2, 10)
    return test


AMD = ("--cpu", "amd", "--boot", "direct", "--host-cpus", "2")
CASES = [
    Case("vsock-amd", talk(*AMD, size=1500000, stranger=True, vcpus=2), 30, timeout=200),
    Case("vsock-intel", talk("--cpu", "intel", "--boot", "grub", "--host-cpus", "1", size=5000), 200, timeout=1200,
         soak=True),
    Case("torture-vsock-amd", talk(*AMD, size=300000, torture=11), 40, timeout=300),
]
