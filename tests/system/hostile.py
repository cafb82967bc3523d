# SPDX-License-Identifier: BSD-2-Clause
"""A guest that does what no guest should, beside one that must not notice (tests/guests/hostile.c, victim.c).

The host lives and its monitor answers; the victim is intact; the attacker gets through all of its steps, by however many
restarts - but at CPL 3 alone by none. Each step is made by (seed, step): docs/hostile.md says how to see one again.
DALANG_HOSTILE_SEED=N is the seed of every run here, else `make soak` takes a new one each time."""
import os
import random
import re
import time

from boots import BACKEND
from harness import ROOT, Case, Failed, check, check_backend, check_status
from lifecycle import Host

GUESTS = os.path.join(ROOT, "build", "tests", "guests")
EMULATOR = {"amd": "tcg", "intel": "bochs"}
# Without a word from the attacker for so long it has stopped both of its CPUs, as it may at CPL 0: it is reset, as its
# owner would do.
SILENCE, SILENCE_USER = 20, 60
# How often it says something, in steps; the victim's timer, in us: a round of it is some hundred steps.
EVERY, TICK = 4096, 10000
DONE = re.compile(rb"HOSTILE: done (\d+) steps, lives (\d+)")


def chosen_seed(seed):
    given = os.environ.get("DALANG_HOSTILE_SEED")
    if given:
        return int(given)
    return random.SystemRandom().randrange(1, 1 << 32) if seed is None else seed


def wait_for_end(ctx, host, p, seed, silence=SILENCE):
    """Until the attacker is through. It says something every few thousand steps; where it got stuck it is reset."""
    resets, here, seen, since = 0, [], 0, time.monotonic()
    while not DONE.search(p.out):
        try:
            p.expect(rb"HOSTILE: [^\n]*\n", start=seen, within=silence)
        except Failed as e:
            at = (re.findall(rb"HOSTILE: seed \d+ (?:at|from) (\d+)", p.out) or [b"0"])[-1].decode()
            check("in time" in str(e), f"seed {seed}, at step {at} or later: {e}")
            check(time.monotonic() - since >= silence, f"seed {seed}, at step {at} or later: {e}")
            resets += 1
            here = [*here, at] if at in here else [at]
            check(len(here) < 5, f"seed {seed}, at step {at}: stuck again and again")
            host.do("reset attacker")
        seen, since = len(p.out), time.monotonic()
    ctx.log.write(b"<resets by the test: %d>\n" % resets)
    return resets


def refused_by_bochs(cpu, text):
    """Bochs 2.7 wants CS.RPL to be the segment's DPL (0) in real mode, too, where bits 1:0 of CS are what a far jump left
    there; the SDM has no such check (vol. 3, 27.3.1.2: "non-conforming CS.RPL <> CS.DPL" is Bochs' own)."""
    m = re.search(rb"CR0 0x([0-9a-f]+), CS 0x([0-9a-f]+)\)", text)
    return cpu == "intel" and m and not int(m.group(1), 16) & 1 and int(m.group(2), 16) & 3


def run(cpu, boot, host_cpus, steps, seed=1, words="", vcpus=2, **more):
    user = "user" in words

    def test(ctx):
        n = chosen_seed(seed)
        host = Host(ctx)
        victim = ctx.vm_file("victim", f"seed={n} tick={TICK} every=50", kernel=os.path.join(GUESTS, "victim.elf"), memory=16)
        attacker = ctx.vm_file("attacker", f"seed={n} steps={steps} every={EVERY} emulator={EMULATOR[cpu]} {words}",
                               kernel=os.path.join(GUESTS, "hostile.elf"), memory=16, vcpus=vcpus, debug_exit=0, testdev=2,
                               on_reboot='"restart"', on_poweroff='"restart"', on_crash='"restart"', **more)
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(host_cpus), "--control", host.path,
                    "--vm", victim, "--vm", attacker)
        check_backend(p, BACKEND[cpu], host_cpus)
        p.expect(rb"VICTIM: ready")
        resets = wait_for_end(ctx, host, p, n, SILENCE_USER if user else SILENCE)
        states = host.states()
        check("victim" in states and "attacker" in states, f"seed {n}: `list` shows {states}")
        rounds = len(re.findall(rb"VICTIM: round ", p.out))
        host.do("destroy attacker")
        p.send(b"q")
        p.expect(rb"VICTIM: intact")
        failed = re.search(rb"VICTIM: FAIL ([^\r\n]*)", p.out)
        check(not failed, f"seed {n}: the victim: {failed and failed.group(1).decode()}")
        check(rounds, f"seed {n}: the victim made no round")
        m = DONE.search(p.out)
        check(int(m.group(1)) == steps, f"seed {n}: {m.group(1).decode()} steps, not {steps}")
        check(not user or (m.group(2) == b"1" and not resets),
              f"seed {n}: acts at CPL 3 alone ended the machine: {m.group(0).decode()}, {resets} resets")
        for text in re.findall(rb"attacker: killed: ([^\r\n]*)", p.err):
            ctx.log.write(b"<killed: " + text + b">\n")
            # What the CPU refuses we should have known.
            check(b"refused to enter" not in text or refused_by_bochs(cpu, text), f"seed {n}: {text.decode()}")
        check_status(p, 1, allow=[rb"attacker: killed: ", rb"^vCPU \d+ \(", rb"^  "])
    return test


def shut(ctx):
    """One that exits at every other instruction with interrupts shut, for ever: its neighbour and the monitor go on."""
    host = Host(ctx)
    victim = ctx.vm_file("victim", "every=20", kernel=os.path.join(GUESTS, "victim.elf"), memory=16)
    p = ctx.run("--cpu", "intel", "--boot", "grub", "--host-cpus", "1", "--control", host.path, "--vm", victim,
                "--vm", ctx.vm_file("attacker", "shut"))
    start = p.expect(rb"TINY: shut").end()
    for _ in range(5):
        start = p.expect(rb"VICTIM: round ", start=start).end()
    host.do("destroy attacker")
    p.send(b"q")
    p.expect(rb"VICTIM: intact")
    check_status(p, 1)


# A million steps on each vendor. What a seed here meets of the emulator's own faults is spared by name (SUPPORT.md).
CASES = [
    Case("hostile-amd", run("amd", "direct", 1, 250000), 170, timeout=1800),
    Case("hostile-user-amd", run("amd", "direct", 2, 750000, 1, "user"), 95, timeout=900),
    Case("hostile-intel", run("intel", "grub", 1, 200000), 180, timeout=3600),
    Case("hostile-user-intel", run("intel", "grub", 1, 800000, 2, "user"), 90, timeout=1200),
    Case("hostile-shut-intel", shut, 15, timeout=200),
    Case("hostile-torture-amd", run("amd", "direct", 2, 5000, 5, torture=3), 15, timeout=300),
    Case("hostile-pci-amd", run("amd", "direct", 2, 10000, 3, "pci"), 20, timeout=400),
    Case("hostile-soak-amd", run("amd", "direct", 2, 10000000, None), 7200, timeout=30000, soak=True),
    Case("hostile-soak-user-amd", run("amd", "direct", 2, 10000000, None, "user"), 3600, timeout=30000, soak=True),
    Case("hostile-soak-intel", run("intel", "grub", 1, 3000000, None), 7200, timeout=30000, soak=True),
    Case("hostile-soak-torture-amd", run("amd", "direct", 2, 500000, None, torture=3), 1200, timeout=30000, soak=True),
]
