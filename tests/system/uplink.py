# SPDX-License-Identifier: BSD-2-Clause
"""The machine's own virtio network card as a bridge's uplink: guests reach this machine, and are reached from it."""
import hashlib
import http.server
import os
import socket
import threading
import urllib.request

import guests
from harness import Case, check
from hostdisk import Machine
from virtio import Linux

SIZE = 3 << 20

# The guest fetches a file from us and says its sum; then it serves one.
GUEST = """
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set lo up; ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """Serves `data` by HTTP on this machine, as long as the test lasts."""

    def __init__(self, data):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def uplink(*host, card="", rounds=1, **more):
    """A file by HTTP in each direction, and a ping of the router that QEMU plays."""
    def test(ctx):
        data = os.urandom(SIZE)
        server, forward = Server(data), free_port()
        m = Machine(ctx, f"-netdev user,id=up,hostfwd=tcp:127.0.0.1:{forward}-10.0.2.15:80 -device virtio-net-pci,netdev=up{card}")
        m.env["DALANG_TEST_UPLINK"] = "bridge=lan0"
        v = Linux(m, *host, modules=guests.NET, vif="['bridge=lan0']", **more)
        v.p.expect(rb"nic0: uplink of lan0", "err")
        for line in GUEST.strip().split("\n"):
            v.run(line)
        said = v.run("ping -c 3 10.0.2.2 || true")
        check(" 0% packet loss" in said, said)
        for _ in range(rounds):
            got = v.run(f"wget -q -O /tmp/f http://10.0.2.2:{server.port}/f; md5sum </tmp/f").split()[0]
            check(got == hashlib.md5(data).hexdigest(), "the file that the guest fetched is not what was served")
        v.run("httpd -h /tmp")
        for _ in range(rounds):
            with urllib.request.urlopen(f"http://127.0.0.1:{forward}/f", timeout=60) as r:
                check(r.read() == data, "the file that the guest served is not what was fetched from it")
        v.end()
        server.http.shutdown()
    return test


AMD = ("--cpu", "amd", "--boot", "direct", "--host-cpus", "2")
CASES = [
    Case("uplink-amd", uplink(*AMD, vcpus=2), 25, timeout=200, soak=True),
    Case("uplink-plain-amd", uplink(*AMD, card=",mrg_rxbuf=off,csum=off,gso=off,host_tso4=off,guest_csum=off,event_idx=off"), 25,
         timeout=200),
]
