# SPDX-License-Identifier: BSD-2-Clause
"""A driver that does what no driver should, to every kind of virtio device (tests/guests/vhostile.c), beside a VM that must
not notice: docs/hostile.md.

The host lives and answers, no step ends the attacker, each device does its part when it is asked well afterwards. What is
wrong is counted and said now and then. DALANG_HOSTILE_SEED=N is the seed of every run here."""
import os
import re
import struct

from boots import BACKEND
from harness import ROOT, Case, check, check_backend, check_status
from hostdisk import Machine, drive
from hostile import GUESTS, TICK, chosen_seed
from lifecycle import Host

DONE = re.compile(rb"HOSTILE: done (\d+) steps, lives (\d+)")
BROKEN = re.compile(rb"attacker: virtio-\w+: .*; the device waits for its driver to reset it")
SIZE = 512 << 10
EVERY = 50  # steps: how often it says where it is


def content(size):
    """word_of_file() of tests/guests/vhostile_honest.c."""
    mask = (1 << 64) - 1
    words = [at * 0xBF58476D1CE4E5B9 & mask for at in range(0, size, 8)]
    return struct.pack(f"<{len(words)}Q", *(z ^ z >> 29 for z in words))


def run(cpu, boot, host_cpus, steps, seed=1, words="", vcpus=1, torture=False, resets=0, slow=False):
    """resets: so often the attacker is reset by the monitor, whatever is under way. slow: it has slow disks of the machine's,
    too, whose requests are in flight for long."""
    def test(ctx):
        n = chosen_seed(seed)
        more = {"torture": n} if torture else {}
        host = Host(ctx)
        disk = ctx.file("a.img", content(SIZE))
        base = ctx.file("b.img", content(SIZE))
        disks = [f"'{disk},,xvda,rw'", f"'cow:{base},,xvdb,rw'", f"'vdev=xvdc,access=ro,sector=4096,target={base}'",
                 f"'vdev=xvdd,access=rw,iops=2000,bps=4000000,target=cow:{base}'", f"'{base},,hde,cdrom'"]
        if slow:
            limits = ",throttling.bps-total=20000000,throttling.iops-total=4000"
            ctx = Machine(ctx, drive("c", ctx.file("c.img", content(SIZE)), limits, serial="slow"),
                          drive("d", ctx.file("d.img", content(SIZE)), limits, serial="below"))
            disks += ["'host:slow,,xvdf,rw'", "'cow:host:below,,xvdg,rw'"]
        victim = ctx.vm_file("victim", f"seed={n} tick={TICK} every=50", kernel=os.path.join(GUESTS, "victim.elf"), memory=16,
                             disk=f"['cow:{base},,xvda,rw']", vif="['bridge=lan0', 'bridge=lan0']")
        attacker = ctx.vm_file("attacker", f"seed={n} steps={steps} every={EVERY} {words}",
                               kernel=os.path.join(GUESTS, "vhostile.elf"), memory=16, vcpus=vcpus, debug_exit=0, balloon=1,
                               rng=1, vsock="['cid=7,monitor=1']", pv_console=1, channel="['name=one,connection=pty', 'name=two,connection=pty']",
                               on_reboot='"restart"', on_crash='"restart"',
                               disk=f"[{', '.join(disks)}]",
                               vif="['bridge=lan0', 'bridge=lan0', 'bridge=lan1,antispoof=0,queues=2,rate=100Mb/s']", **more)
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(host_cpus), "--control", host.path,
                    "--vm", victim, "--vm", attacker)
        check_backend(p, BACKEND[cpu], host_cpus)
        p.expect(rb"VICTIM: has a disk.*VICTIM: has network cards.*VICTIM: ready")
        for i in range(resets):
            p.expect(rb"HOSTILE: seed %d at %d\D" % (n, steps * (i + 1) // (resets + 1) // EVERY * EVERY))
            host.do("reset attacker")
            p.expect(rb", lives %d\r?\n" % (i + 2))
        m = p.expect(rb"HOSTILE: (done|FAIL|own exception|it has)[^\r\n]*\r?\n")
        check(m.group(1) == b"done", f"seed {n}: {m.group(0).decode()}")
        check(DONE.search(p.out).groups() == (b"%d" % steps, b"%d" % (resets + 1)), f"seed {n}: {m.group(0).decode()}")
        # Of its last life.
        broken, well = (int(x) for x in re.findall(rb"HOSTILE: broken (\d+), did as it should (\d+)", p.out)[-1])
        since = steps // (resets + 1) - EVERY
        check(broken > since and well > since / 2, f"seed {n}: {broken} broken, {well} asked well, of {since} steps or more")
        errors = int(re.search(r"device_errors *: (\d+)", "\n".join(host.do("stat attacker"))).group(1))
        said = len(BROKEN.findall(p.err))
        check(errors >= broken / 2, f"seed {n}: {errors} errors are counted, of {broken} that the driver saw")
        # The 1st, 2nd, 4th... of each of twelve devices.
        check(12 <= said <= 12 * errors.bit_length(), f"seed {n}: {said} of {errors} errors are in the log")
        check("victim" in host.states(), f"seed {n}: `list` shows {host.states()}")
        host.do("destroy attacker")
        p.send(b"q")
        p.expect(rb"VICTIM: (intact|FAIL)")
        failed = re.search(rb"VICTIM: FAIL ([^\r\n]*)", p.out)
        check(not failed, f"seed {n}: the victim: {failed and failed.group(1).decode()}")
        check(re.search(rb"VICTIM: round ", p.out), f"seed {n}: the victim made no round")
        check_status(p, 1, allow=[BROKEN.pattern])
    return test


CASES = [
    Case("hostile-virtio-amd", run("amd", "direct", 2, 600, 1, "race", vcpus=2, resets=3), 25, timeout=400),
    Case("hostile-virtio-intel", run("intel", "grub", 1, 300, 2), 30, timeout=600),
    Case("hostile-virtio-torture-amd", run("amd", "direct", 2, 200, 3, "race", vcpus=2, torture=True), 10, timeout=300),
    Case("hostile-virtio-soak-amd", run("amd", "direct", 2, 100000, None, "race", vcpus=2, resets=20), 3600, timeout=30000, soak=True),
    Case("hostile-virtio-soak-slow-amd", run("amd", "direct", 2, 60000, None, "race", vcpus=2, resets=200, slow=True), 3600,
         timeout=30000, soak=True),
    Case("hostile-virtio-soak-intel", run("intel", "grub", 1, 30000, None), 3600, timeout=30000, soak=True),
    Case("hostile-virtio-soak-torture-amd", run("amd", "direct", 2, 20000, None, "race", vcpus=2, torture=True), 1200, timeout=30000,
         soak=True),
]
