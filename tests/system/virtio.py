# SPDX-License-Identifier: BSD-2-Clause
"""virtio devices as the stock kernel's drivers see them, on both vendors and in torture mode."""
import hashlib
import random
import re

import guests
from harness import Case, check, check_status
from kernels import kernel
from torture import check_report

MIB = 1 << 20


class Linux:
    """A shell in Debian's kernel with virtio's drivers."""

    def __init__(self, ctx, *host, words="", modules=("virtio_blk", "virtio-rng"), name="v", memory=256, then=(), programs=(), files=None, **more):
        names = [m.replace("virtio_", "") for m in (*modules, *programs, *(["debian"] if files else []))]
        ramdisk = guests.module_initramfs("virtio-" + "-".join(names), *modules, programs=programs, files=files)
        self.p = ctx.run(*host, "--vm", ctx.vm_file(name, f"{guests.CMDLINE} {words}".strip(), memory=memory,
                                                    kernel=kernel("cloud"), ramdisk=f'"{ramdisk}"', **more), *then)
        self.at = self.p.expect(guests.PROMPT.strip().encode()).end()

    def run(self, line):
        """What a shell's line prints."""
        self.p.send(b"echo B''EGIN; " + line.encode() + b"; echo E''ND $?\n")
        m = self.p.expect(rb"(?s)BEGIN\r?\n(.*?)END (\d+)\r?\n", start=self.at)
        self.at = m.end()
        check(m.group(2) == b"0", f"`{line}` ended with {m.group(2).decode()}: {m.group(1).decode()}")
        return m.group(1).decode().replace("\r", "").strip()

    def end(self, status=0):
        # What another console of the guest's says may stand in the middle.
        said = self.run("echo C''OUNT $(dmesg | grep -ciE 'BUG:|Call Trace|nobody cared|I/O error|timed out')")
        m = re.search(r"COUNT (\d+)", re.sub(r"v:pv: \^\]", "", said))
        check(m and m.group(1) == "0", f"the kernel complains: {said}")
        self.p.send(b"poweroff -f\n")
        check_status(self.p, status)


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def md5(data):
    return hashlib.md5(data).hexdigest()


def disks(*host, size=8 * MIB, cpus=1, **more):
    """Two disks: one is read whole and written, one is read-only with sectors of 4096; and random bytes."""
    def test(ctx):
        data, other = noise(1, size), noise(2, size // 2)
        a, b = ctx.file("a.img", data), ctx.file("b.img", other)
        v = Linux(ctx, *host, rng=1, disk=f"['{a},raw,xvda,rw', 'vdev=xvdb,access=ro,sector=4096,serial=second,target={b}']", **more)
        check(v.run("md5sum </dev/vda").split()[0] == md5(data), "vda is not what is in the file")
        check(v.run("md5sum </dev/vdb").split()[0] == md5(other), "vdb is not what is in the file")
        got = v.run("cat /sys/block/vda/serial; echo; cat /sys/block/vdb/serial").split()
        check(got == ["xvda", "second"], f"serials: {got}")
        got = v.run("cd /sys/block; cat vdb/ro vdb/queue/logical_block_size vdb/size vda/ro vda/queue/physical_block_size").split()
        check(got == ["1", "4096", str(size // 1024), "0", "4096"], f"vdb's and vda's shape: {got}")
        v.run("dd if=/dev/vdb of=/dev/vda bs=4k count=100 skip=7 seek=50 oflag=direct 2>/dev/null; sync")
        now = data[:50 * 4096] + other[7 * 4096:107 * 4096] + data[150 * 4096:]
        check(v.run("echo 3 >/proc/sys/vm/drop_caches; md5sum </dev/vda").split()[0] == md5(now), "what was written to vda")
        said = v.run("dd if=/dev/zero of=/dev/vdb bs=4k count=1 oflag=direct 2>&1 || true")
        check("not permitted" in said, f"vdb takes writes: {said}")
        random_bytes = [v.run("dd if=/dev/hwrng bs=64 count=1 2>/dev/null | md5sum").split()[0] for _ in range(2)]
        check(random_bytes[0] != random_bytes[1] and md5(b"") not in random_bytes, f"random bytes: {random_bytes}")
        v.end()
        if "torture" in more:
            check_report(v.p, cpus, 10)
    return test


AMD = ("--cpu", "amd", "--boot", "direct", "--host-cpus", "2")
CASES = [
    Case("virtio-disks-amd", disks(*AMD, cpus=2, vcpus=2), 25, timeout=200),
    Case("virtio-disks-intel", disks("--cpu", "intel", "--boot", "grub", "--host-cpus", "1", size=MIB), 60, timeout=500),
    Case("torture-virtio-disks-amd", disks(*AMD, cpus=2, vcpus=2,
                                           torture=5), 40, timeout=300),
]
