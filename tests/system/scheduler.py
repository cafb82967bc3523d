# SPDX-License-Identifier: BSD-2-Clause
"""Who gets how much of the CPU, and how soon. Guests measure it themselves (tests/guests/share.c): exactly on one host
CPU, where the TSC counts instructions; on several only in proportion to each other."""
import os
import re
import time

from ends import children
from harness import ROOT, TINY, Case, check, check_status

SHARE = os.path.join(ROOT, "build", "tests", "guests", "share.elf")
EXACT = ("--cpu", "amd", "--boot", "direct", "--icount", "--host-cpus", "1")
TWO = ("--cpu", "amd", "--boot", "direct", "--host-cpus", "2")


def vm(ctx, name, words, **more):
    return ctx.vm_file(name, words, kernel=SHARE, memory=16, **more)


def start(ctx, how, files, options=()):
    return ctx.run(*how, *options, *[x for f in files for x in ("--vm", f)])


def rows(p):
    """{VM: its numbers by their names}, of all that said something."""
    found = {}
    for m in re.finditer(rb"^(?:(\w+): )?SHARE: (.*?)\r?$", p.out, re.M):
        words = m.group(2).decode().split()
        name, words = (words[0] + " ", words[1:]) if words[0] == "late" else ("", words)
        found[(m.group(1) or b"").decode()] = {name + k: int(v) for k, v in zip(words[::2], words[1::2])}
    return found


def near(value, want, part, what):
    check(abs(value - want) <= want * part, f"{what} is {value}, not {want} to {part:.0%}")


def weights(ctx):
    p = start(ctx, EXACT, [vm(ctx, "a", "spin=4000", cpu_weight=256), vm(ctx, "b", "spin=4000", cpu_weight=512)])
    check_status(p, 1)
    r = rows(p)
    near(r["b"]["ran"] / r["a"]["ran"], 2, 0.03, "512 to 256")
    check(r["a"]["ran"] + r["b"]["ran"] > 990000, f"much went elsewhere: {r}")


def spinners(n):
    """n equal ones, and a VM that is nearly idle: it runs at once when its timer comes."""
    def test(ctx):
        files = [vm(ctx, f"s{i}", "spin=4000") for i in range(n)] + [vm(ctx, "w", "wait=400")]
        p = start(ctx, EXACT, files)
        check_status(p, 1)
        r = rows(p)
        check(r["w"]["late p99"] <= 1000000, f"{r['w']}")
        for i in range(n):
            check(r[f"s{i}"]["ran"] >= 900000 // n, f"s{i} ran {r[f's{i}']['ran']} millionths, of {n}")
    return test


def cap(ctx):
    p = start(ctx, EXACT, [vm(ctx, "a", "spin=4000", cap=25)])
    check_status(p, 1)
    near(rows(p)[""]["ran"], 250000, 0.02, "the capped one")
    p = start(ctx, EXACT, [vm(ctx, "a", "spin=4000", cap=25, cpu_weight=1024), vm(ctx, "b", "spin=4000")])
    check_status(p, 1)
    near(rows(p)["a"]["ran"], 250000, 0.02, "the capped one")
    near(rows(p)["b"]["ran"], 750000, 0.02, "the other")


def alone(ctx):
    """A VM that has the CPU for itself is left alone: not one interrupt of the hypervisor's."""
    for more in ({"dedicated": 1}, {}):
        p = start(ctx, EXACT, [vm(ctx, "a", "spin=3000", **more)])
        check_status(p, 1)
        check(rows(p)[""]["gaps"] == 0 and rows(p)[""]["ran"] > 999000, f"{rows(p)}")


def on_two(ctx, files, allow=()):
    """{VM: (its last CPU, its part of the time for which it wanted to run, how often it moved)}, as the hypervisor's
    own clock has it: that does not depend on how busy the machine under the emulator is."""
    p = ctx.run(*TWO, *[x for f in files for x in ("--vm", f)], env={"DALANG_TEST_LOGLEVEL": "debug"})
    check_status(p, 1, allow)
    line = rb"debug (\w+): vCPU 0 leaves CPU (\d+): (\d+) us run, (\d+) waited, (\d+) moves"
    return p, {m[1].decode(): (int(m[2]), int(m[3]) / (int(m[3]) + int(m[4])), int(m[5]))
               for m in re.finditer(line, p.err)}


REFUSED = (rb"^refused: ",)


def pinned(ctx):
    """Two on CPU 1, one on CPU 0."""
    p, r = on_two(ctx, [vm(ctx, "a", "spin=6000", cpus='"1"'), vm(ctx, "b", "spin=6000", cpus='"all,^0"'),
                        vm(ctx, "c", "spin=6000", cpus='"0"'), vm(ctx, "no", "spin=6000", cpus='"2-3"')], REFUSED)
    check(b"refused: no: of the CPUs 0 to 1 none is both in its cpus" in p.err, "CPUs that are not there were taken")
    check([(r[n][0], r[n][2]) for n in "abc"] == [(1, 0), (1, 0), (0, 0)], f"{r}")
    check(r["c"][1] > 0.99, f"{r}")
    near(r["a"][1], 0.5, 0.2, "a's part")  # the last of the two ends alone
    near(r["b"][1], 0.5, 0.2, "b's part")


def dedicated(ctx):
    """A VM with a CPU of its own: the others, which were there before it, share what is left."""
    p, r = on_two(ctx, [vm(ctx, "a", "spin=6000"), vm(ctx, "b", "spin=6000"), vm(ctx, "d", "spin=9000", dedicated=1),
                        vm(ctx, "e", "spin=6000", dedicated=1), vm(ctx, "f", "spin=6000", cpus='"1"')], REFUSED)
    check(b"refused: e: dedicated = 1 with 1 vCPUs, but only 0 of the CPUs 0 to 1 can be spared" in p.err,
          "the last CPU of the pool was given away")
    check(b"refused: f: of the CPUs 0 to 1 none is both in its cpus and not dedicated" in p.err,
          "a dedicated CPU was shared")
    check([r[n][0] for n in "abd"] == [0, 0, 1], f"{r}")
    check(r["d"][1] > 0.99, f"{r}")
    near(r["a"][1], 0.5, 0.2, "a's part")  # the last of the two ends alone
    near(r["b"][1], 0.5, 0.2, "b's part")


def three_on_two(ctx):
    """Three on two CPUs take turns at sharing one."""
    _, r = on_two(ctx, [vm(ctx, n, "spin=9000") for n in "abc"])
    for n in "abc":
        near(r[n][1], 2 / 3, 0.2, f"{n}'s part")  # the last one ends alone
        check(r[n][2] >= 4, f"{r}")


def takes_work(ctx):
    """A CPU whose VMs have ended takes over what waits elsewhere: 256 of 2816 would be a tenth."""
    _, r = on_two(ctx, [vm(ctx, "w", "spin=1200", cpus='"0"'), vm(ctx, "x", "spin=1200", cpus='"0"'),
                        vm(ctx, "y", "spin=9000", cpus='"1"', cpu_weight=2560), vm(ctx, "z", "spin=9000")])
    check(r["z"][0] == 0 and r["z"][1] > 0.7 and r["z"][2] <= 3, f"{r}")


def pause_loop(ctx):
    """Two that spin by PAUSE on a CPU that tells such loops: they let each other go first, far more often than slices
    end."""
    files = [vm(ctx, n, "pause=1500") for n in "ab"]
    p = ctx.run("--cpu", "intel", "--boot", "grub", "--host-cpus", "1", *[x for f in files for x in ("--vm", f)])
    check_status(p, 1)
    r = rows(p)
    check(len(r) == 2 and min(x["gaps"] for x in r.values()) > 2000, f"{r}")


def nothing_polls(ctx):
    """With every guest halted the host's CPUs sleep: the emulator has next to nothing to do."""
    p = ctx.run(*TWO, "--kernel", TINY, "--memory", "64", "--cmdline", "hang")
    p.expect(rb"TINY: ready")
    time.sleep(1)
    emulator, = children(p.pid)

    def ticks():
        with open(f"/proc/{emulator}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(4)
    used = (ticks() - before) / os.sysconf("SC_CLK_TCK")
    p.stop()
    check(used < 0.2, f"idle, the emulator took {used} s of 4")


CASES = [Case("sched-weights", weights, 12), Case("sched-cap", cap, 20), Case("sched-alone", alone, 15),
         Case("sched-pinned", pinned, 15), Case("sched-dedicated", dedicated, 15),
         Case("sched-three-on-two", three_on_two, 20), Case("sched-takes-work", takes_work, 20),
         Case("sched-nothing-polls", nothing_polls, 10),
         Case("sched-pause-loop", pause_loop, 60, timeout=400)]
CASES += [Case(f"sched-spinners-{n}", spinners(n), 20) for n in (1, 2, 8, 32)]
