# SPDX-License-Identifier: BSD-2-Clause
"""The machine's own virtio disks under a guest's: QEMU's below, Dalang between, Linux' driver above."""
import contextlib
import os
import random
import re
import signal
import sys

import debian
import nbd
from harness import Case, Failed, check, check_status
from lifecycle import Host
from torture import check_report
from virtio import MIB, Linux, md5, noise


LEGACY = rb"virtio disk at 0000:00:[0-9a-f.:]+: not used: it has no modern registers"


class Machine:
    """A test's context whose QEMU has more options, and perhaps more VMs behind the first, who gets what is typed."""

    def __init__(self, ctx, *options, others=()):
        self.ctx, self.env = ctx, {"DALANG_TEST_OPTIONS": " ".join(options)}
        self.others = [w for vm in others for w in ("--vm", vm)]

    def run(self, *options):
        return self.ctx.run(*options, *self.others, env=self.env)

    def vm_file(self, *names, **more):
        return self.ctx.vm_file(*names, **more)


def drive(name, path, more="", **device):
    """QEMU's options for one disk."""
    rest = "".join(f",{k.replace('_', '-') if k.startswith('disable') else k}={v}" for k, v in device.items())
    return f"-drive if=none,id={name},format=raw,file={path}{more} -device virtio-blk-pci,drive={name}{rest}"


def content(path):
    with open(path, "rb") as f:
        return f.read()


def disks(*host, cpus=1, **more):
    """One that is written, with sectors of 4096; one that is read, as it is and through an overlay that is written; one that
    has only a legacy interface, which is not for us."""
    def test(ctx):
        data, other = noise(3, 8 * MIB), noise(4, 4 * MIB)
        a, b = ctx.file("a.img", data), ctx.file("b.img", other)
        m = Machine(ctx, drive("a", a, logical_block_size=4096, physical_block_size=4096, serial="data"),
                    "-device pcie-root-port,id=root1,slot=1", drive("b", b, ",readonly=on", bus="root1"),
                    drive("c", ctx.file("c.img", bytes(MIB)), disable_modern="on", disable_legacy="off"))
        v = Linux(m, *host, disk="['host:data,,xvda,rw', 'host:vbd1,,xvdb,ro', 'cow:host:vbd1,,xvdc,rw']", **more)
        v.p.expect(rb'disk host:vbd0: 8 MiB, serial "data"', "err")
        v.p.expect(LEGACY, "err")
        got = [v.run(f"md5sum </dev/vd{x}").split()[0] for x in "abc"]
        check(got == [md5(data), md5(other), md5(other)], f"what is on the disks: {got}")
        check(v.run("cat /sys/block/vda/queue/logical_block_size /sys/block/vdb/ro").split() == ["4096", "1"], "their shape")
        # Many at once, to both; the overlay's in parts of pages.
        v.run("for i in 0 1 2 3 4 5 6 7; do dd if=/dev/vdb of=/dev/vda bs=64k count=8 skip=$((i*8)) seek=$((i*16)) oflag=direct & "
              "dd if=/dev/vda of=/dev/vdc bs=512 count=77 skip=$((i*500)) seek=$((i*1001+3)) & done 2>/dev/null; wait; sync")
        now, over = bytearray(data), bytearray(other)
        for i in range(8):
            now[i << 20:(i << 20) + (MIB // 2)] = other[i * MIB // 2:(i + 1) * MIB // 2]
        # What the second kind read of vda may be from before or after: only that it is there, by its own sums.
        v.run("echo 3 >/proc/sys/vm/drop_caches")
        check(v.run("md5sum </dev/vda").split()[0] == md5(now), "what was written to vda")
        check(content(a) == now, "what was written and synced is not in the file below")
        v.run("for i in 0 1 2 3 4 5 6 7; do dd if=/dev/vda of=/dev/vdc bs=512 count=77 skip=$((i*500)) seek=$((i*1001+3)) "
              "oflag=direct & done 2>/dev/null; wait; sync; echo 3 >/proc/sys/vm/drop_caches")
        for i in range(8):
            over[(i * 1001 + 3) * 512:(i * 1001 + 80) * 512] = now[i * 500 * 512:(i * 500 + 77) * 512]
        check(v.run("md5sum </dev/vdc").split()[0] == md5(over), "what was written to the overlay")
        check(v.run("md5sum </dev/vdb").split()[0] == md5(other) and content(b) == other, "the disk below the overlay changed")
        v.p.send(b"poweroff -f\n")
        check_status(v.p, 0, [LEGACY])
        if "torture" in more:
            check_report(v.p, cpus, 10)
    return test


def ends(*host):
    """A VM that is reset and destroyed while a slow disk reads into its memory and writes from it: it ends when the disk is
    done, and nothing is left behind."""
    def test(ctx):
        h = Host(ctx)
        path = ctx.file("a.img", noise(5, 8 * MIB))
        m = Machine(ctx, drive("a", path, ",throttling.bps-total=600000", serial="slow"), others=[ctx.vm_file("keeper", "hlt")])
        v = Linux(m, *host, "--control", h.path, disk="['host:slow,,xvda,rw']", name="v")

        def busy():
            v.p.send(b"\nfor i in 1 2 3; do dd if=/dev/vda of=/dev/null bs=256k iflag=direct skip=$i & "
                     b"dd if=/dev/zero of=/dev/vda bs=256k seek=$((i+8)) oflag=direct & done; sleep 1; echo BU''SY\n")
            v.at = v.p.expect(rb"BUSY", start=v.at).end()

        def booted():
            v.at = v.p.expect(rb"A busybox shell.*?dalang-guest#", start=v.at).end()

        def destroyed():
            h.until("destroy", lambda: "v" not in h.states())

        busy()
        h.do("reset v")
        booted()
        busy()
        h.do("reset v")
        h.do("destroy v")  # it still waits for the disk
        destroyed()
        total, free = map(int, h.settled()[2].split()[1:])  # the row "guests'"
        check(total - free == 64 << 10, f"of the guests' pool {total - free} KiB are in use, the other VM's and more")
        h.do("create v")  # the disk is free again
        h.do("destroy v")
        h.do("destroy keeper")
        check_status(v.p, 0)
    return test


# Beside each other, so that one's flush comes amid the other's writes: a number goes round in the first MiB; and behind it fio writes piece
# after piece, each with a flush at its end. What is said has been flushed.
WRITERS = """i={round}; while fio {fio} --end_fsync=1 --do_verify=0 --name=r$i --randseed=$i --offset=$((i*64+1024))k >/dev/null; do echo FI''O $i; i=$((i+1)); done &
i={number}; while printf %0512d $i | dd of=/dev/vda bs=512 seek=$((i%37*50)) conv=fsync,notrunc 2>/dev/null; do echo NUM''BER $i; i=$((i+1)); usleep 150000; done
"""
FIO = ("--thread --filename=/dev/vda --rw=randwrite --bs=4k --size=64k --direct=1 --ioengine=libaio --iodepth=4 --fsync=6 --verify=crc32c "
       "--verify_fatal=1 --output-format=terse")


def check_rounds(v, rounds):
    """What fio wrote in them is there."""
    for some in (rounds[i:i + 16] for i in range(0, len(rounds), 16)):
        said = v.run(f"fio {FIO} --verify_only $(for i in {' '.join(map(str, some))}; do "
                     "echo --name=r$i --randseed=$i --offset=$((i*64+1024))k; done) >/tmp/said; r=$?; cut -d';' -f3,5,6 /tmp/said; (exit $r)")
        check(said.split() == [f"r{i};0;64" for i in some], f"rounds {some} were safe; fio says: {said}")


def killed(seeds, *host):
    """The machine dies while a guest writes and flushes, and its disk with it, whose cache loses what it holds: what the guest was told
    is safe is there in the next life."""
    def test(ctx):
        disk = nbd.Disk(ctx.dir, (2 + 2 * len(seeds)) * MIB)
        files = debian.programs()

        def boot(requests, name):
            path = disk.serve(requests, lambda: os.killpg(v.p.pid, signal.SIGKILL))
            v = Linux(Machine(ctx, drive("a", "nbd:unix:" + path, ",cache=writeback")), *host, files=files, vcpus=2,
                      disk="['host:vbd0,,xvda,rw']", name=name)
            return v

        def wrong(numbers):
            """Of these numbers, which were safe, those in whose place there is neither they nor a later one: (number, what is there)."""
            kept = [(n, bytes(disk.kept[(at := n % 37 * 50 * 512):at + 512])) for n in numbers]
            return [(n, k[:4], k[-8:]) for n, k in kept if not (k.isdigit() and int(k) >= n and int(k) % 37 == n % 37)]

        numbers, rounds, new = {}, [], []
        for life, seed in enumerate(seeds):
            dice = random.Random(seed)
            v = boot(dice.randrange(40, 240), f"v{life}")
            check_rounds(v, new)
            for line in WRITERS.format(fio=FIO, round=life * 32, number=life * 1000).strip().split("\n"):
                v.p.send(line.encode() + b"\n")
            # Each time we hear of one it could be the last.
            lost, m = [], None
            with contextlib.suppress(Failed):
                while m := v.p.expect(rb"^NUMBER (\d+)\r", start=m.end() if m else 0):
                    numbers[int(m[1]) % 37] = int(m[1])
                    lost += wrong([int(m[1])])
            v.p.finish()
            disk.power_fails(dice)
            lost += wrong(numbers.values())
            check(not lost, f"life {life}: was safe, and is not there: {lost}")
            new = [int(n) for n in re.findall(rb"^FIO (\d+)\r", v.p.out, re.M)]
            rounds += new
        check(rounds and numbers and disk.lost, f"too little was done: {rounds}, {numbers}, {disk.lost} sectors lost")
        v = boot(sys.maxsize, "last")
        check_rounds(v, rounds)
        v.end()
    return test


CASES = [
    Case("host-disks-amd", disks("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", cpus=2, vcpus=2), 25, timeout=200),
    Case("torture-host-disks-amd", disks("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", cpus=2, vcpus=2, torture=7),
         40, timeout=400),
    Case("host-disk-ends-amd", ends("--cpu", "amd", "--boot", "direct", "--host-cpus", "2"), 45, timeout=400),
    Case("host-disk-killed-amd", killed(range(5), "--cpu", "amd", "--boot", "direct", "--host-cpus", "2"), 80, timeout=1500),
    Case("host-disk-killed-long-amd", killed(range(5, 45), "--cpu", "amd", "--boot", "direct", "--host-cpus", "2"), 500, timeout=4000,
         soak=True),
]
