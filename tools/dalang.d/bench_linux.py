# SPDX-License-Identifier: BSD-2-Clause
"""Rows of `bench` with Debian's cloud kernel as guest: a disk in memory and a network between two
VMs, by a static program (tests/guests/lbench.c)."""
import os
import re

import guests
from util import TOOL, Fail, guest_file

NET = "ip link set lo up; ip link set eth0 up; ip addr add 10.0.0.{}/24 dev eth0; "
# VM a reads its disk, sends echoes to itself and to b. mq-deadline, Linux' choice for one queue,
# sends each request by way of a kernel thread.
A = ("for s in mq-deadline none; do echo $s >/sys/block/vda/queue/scheduler; for n in 1 32; do "
     "echo $s $n; lbench read /dev/vda $n 512; done; done; " + NET.format(1) +
     "lbench serve & sleep 1; ping -c 1 10.0.0.2; for at in 127.0.0.1 10.0.0.2; do echo AT $at; "
     "lbench ping $at 256; lbench echo $at 256; done; poweroff -f")
B = NET.format(2) + "lbench serve"
ROWS = ((rb"none 1\r?\n.*?LBENCH read", "4 KiB read with O_DIRECT, one by one", 15000),
        (rb"none 32\r?\n.*?LBENCH read", "4 KiB read with O_DIRECT, 32 in flight", 10000),
        (rb"deadline 1\r?\n.*?LBENCH read", "4 KiB read, one by one, mq-deadline", None),
        (rb"deadline 32\r?\n.*?LBENCH read", "4 KiB read, 32 in flight, mq-deadline", None),
        (rb"AT 127.*?LBENCH ping", "64-byte ICMP echo within one guest", None),
        (rb"AT 10.*?LBENCH ping", "64-byte ICMP echo between two guests", 40000),
        (rb"AT 127.*?LBENCH echo", "64-byte UDP echo within one guest", None),
        (rb"AT 10.*?LBENCH echo", "64-byte UDP echo between two guests", None))


def _vm_file(folder, name, script, disk):
    path = os.path.join(folder, f"linux-{name}.cfg")
    ramdisk = guests.module_initramfs("bench", "virtio_blk", *guests.NET, programs=("lbench",))
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'name = "{name}"\nkernel = "{guest_file("vmlinuz")}"\nramdisk = "{ramdisk}"\n'
                f'memory = 128\nvif = [ "bridge=lan0" ]\ndisk = [ {disk} ]\n'
                f'cmdline = "{guests.CMDLINE} {guests.do(script)}"\n')
    return path


def rows(run, folder):
    """run: bench's; folder: for files."""
    img = os.path.join(folder, "linux.img")
    with open(img, "wb") as f:
        f.write(bytes(1 << 20))
    out, err = run(["--vm", _vm_file(folder, "b", B, ""),
                    "--vm", _vm_file(folder, "a", A, f'"{img},raw,xvda,rw"')],
                   re.compile(rb"VM a: ended"), 600)
    found = []
    for want, what, bound in ROWS:
        m = re.search(rb"(?s)" + want + rb" (\d+)\r?\n", out)
        if not m:
            raise Fail(TOOL, f"Linux: {what}: no number; the guests said last: "
                             f"{out[-500:].decode('utf-8', 'replace').strip()}; "
                             f"the host: {err[-300:].decode('utf-8', 'replace').strip()}")
        found.append({"name": f"Linux: {what}", "value": int(m.group(1)), "bound": bound})
    return found
