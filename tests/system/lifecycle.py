# SPDX-License-Identifier: BSD-2-Clause
"""Pause, reset and destroy, by the monitor and at random moments, while all vCPUs run: each ends soon, and
nothing is left behind."""
import os
import random
import time

import guests
from boots import BACKEND
from control import ask
from harness import ROOT, Case, check, check_backend, check_status
from util import guest_file

SMP = {"kernel": os.path.join(ROOT, "build", "tests", "guests", "smp.elf")}
SOON = 30  # seconds: a loaded emulator's, not a machine's


class Host:
    """The monitor's words and what `list` and `mem` say."""

    def __init__(self, ctx):
        self.path = os.path.join(ctx.dir, "control")

    def ask(self, line):
        return ask(self.path, line)

    def do(self, line):
        lines, wrong = self.ask(line)
        check(wrong is None, f"monitor, {line}: {wrong}")
        return lines

    def states(self):
        return {w[0]: w[4].strip("-") for w in (line.split() for line in self.do("list")[1:])}

    def settled(self):
        """`mem`, when it no longer changes: a VM leaves the list before its memory is given back."""
        mem = None
        while mem != (mem := self.do("mem")):
            time.sleep(0.5)
        return mem

    def until(self, what, true):
        end = time.monotonic() + SOON
        while not true():
            check(time.monotonic() < end, f"{what}: not within {SOON} s; the VMs are {self.states()}")
            time.sleep(0.01)


def storm(cpu, boot, host_cpus, vcpus, rounds, kernel, words):
    def test(ctx):
        host = Host(ctx)
        keeper = ctx.vm_file("keeper", "hlt")
        victim = ctx.vm_file("victim", words, **kernel, vcpus=vcpus)
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(host_cpus), "--control", host.path,
                    "--vm", keeper, "--vm", victim)
        check_backend(p, BACKEND[cpu], host_cpus)
        p.expect(rb"keeper: TINY: ready")
        dice = random.Random(rounds)
        mem, resets = None, 0
        for i in range(rounds):
            time.sleep(dice.random() / 20)
            what = dice.choice(("pause", "reset", "destroy", "pause destroy", "pause reset")) if i else "destroy"
            if "pause" in what:
                host.do("pause victim")
                host.until("pause", lambda: host.states()["victim"] == "p")
            if what == "pause":
                host.do("unpause victim")
                host.until("unpause", lambda: host.states()["victim"] in ("r", "b"))
            elif "reset" in what:
                resets += 1
                host.do("reset victim")
                host.until("reset", lambda: p.err.count(b"VM victim: restarted") == resets)
                host.do("unpause victim")
            else:
                host.do("destroy victim")
                host.until("destroy", lambda: "victim" not in host.states())
                mem = mem or host.settled()
                host.until(f"round {i}: memory as it was at first, {mem}", lambda: host.do("mem") == mem)
                host.do("create victim")
        host.do("destroy victim")
        host.do("destroy keeper")
        check_status(p, 0)
    return test


def keeps_time(ctx):
    """A guest that is paused for three seconds: its clock is right after it, it says that they were stolen, and it
    takes them for no lockup."""
    host = Host(ctx)
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", "--control", host.path, "--vm",
                ctx.vm_file("v", guests.CMDLINE, kernel=guest_file("vmlinuz"), ramdisk=f'"{guests.initramfs()}"',
                            memory=256, vcpus=2))
    m = p.expect(guests.PROMPT.strip().encode())
    # One vCPU spins, in the other the shell waits; the ninth number of a cpu line is steal, in 1/100 s.
    ask = b"echo T$(date +%s) S$(awk '/^cpu /{print $9}' /proc/stat) B$(dmesg | grep -ciE 'stall|lockup|hung')\n"
    p.send(b"while :; do :; done &\n" + ask)
    m = p.expect(rb"^T(\d+) S(\d+) B(\d+)\r?$", start=m.end())
    host.do("pause v")
    host.until("pause", lambda: host.states()["v"] == "p")
    paused = time.time()
    time.sleep(3)
    host.do("unpause v")
    paused = time.time() - paused
    p.send(ask)
    n = p.expect(rb"^T(\d+) S(\d+) B(\d+)\r?$", start=m.end())
    before, after = [int(x) for x in m.groups()], [int(x) for x in n.groups()]
    check(after[0] - before[0] >= int(paused), f"the guest's clock went from {before[0]} to {after[0]} in {paused} s and more")
    check(after[1] - before[1] >= 100 * paused * 0.9, f"stolen were {before[1]}, are {after[1]} hundredths, after {paused} s")
    check(after[2] == 0, "the guest saw a lockup")
    p.send(b"poweroff -f\n")
    check_status(p, 0)


def nmi_button(ctx):
    """LINT1: the boot CPU's is an NMI, as a BIOS leaves it; Linux takes one and says that it knows no reason."""
    host = Host(ctx)
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "1", "--control", host.path, "--vm",
                ctx.vm_file("v", guests.CMDLINE, kernel=guest_file("vmlinuz"), ramdisk=f'"{guests.initramfs()}"',
                            memory=256, vcpus=2))
    m = p.expect(guests.PROMPT.strip().encode())
    host.do("trigger v nmi")
    ask = b"echo N$(dmesg | grep -c 'NMI received for unknown reason')$(awk '/NMI:/{print \" \" $2 \" \" $3}' /proc/interrupts)\n"
    p.send(ask)
    n = p.expect(rb"^N(\d+) (\d+) (\d+)\r?$", start=m.end())
    check(n.groups() == (b"1", b"1", b"0"), f"NMIs that Linux saw: {n.groups()}")
    p.send(b"poweroff -f\n")
    check_status(p, 0)


CASES = [
    Case("nmi-button", nmi_button, seconds=10, timeout=100),
    Case("pause-keeps-time", keeps_time, seconds=15, timeout=200),
    Case("lifecycle-amd", storm("amd", "direct", 2, 4, 1000, SMP, "ipistorm=1000000000"), seconds=120, timeout=600),
    Case("lifecycle-intel", storm("intel", "grub", 1, 2, 40, SMP, "ipistorm=1000000000"), seconds=60, timeout=400),
]
