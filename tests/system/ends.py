# SPDX-License-Identifier: BSD-2-Clause
"""How a VM ends, and what the tool's exit status makes of it. All on the quickest machine."""
import os
import signal
import time

from harness import ROOT, TINY, Case, check, check_status

FAST = ("--cpu", "amd", "--boot", "direct", "--host-cpus", "1")


def ends(words, status, said, options=(), timeout=None, **more):
    """A tiny guest with these words on its command line; `said`: what the tool must tell."""
    def test(ctx):
        p = ctx.run(*FAST, "--vm", ctx.vm_file("t", words, **more), *options, timeout=timeout)
        check_status(p, status)
        check(said in p.err, f"{said!r} is not on standard error")
    return test


def restart(ctx):
    """on_reboot's default is restart, as in xl: the guest comes again, with clean memory."""
    p = ctx.run(*FAST, "--kernel", TINY, "--memory", "64", "--cmdline", "reboot", timeout=40)
    end = 0
    for _ in range(3):
        end = p.expect(rb"TINY: ready", start=end).end()
    p.expect(rb"VM guest: restarted", "err")
    p.stop()


def crash_restart(ctx):
    """on_crash = "restart": it comes again, a second later, and again."""
    p = ctx.run(*FAST, "--vm", ctx.vm_file("t", "kill", on_crash='"restart"'), timeout=40)
    end = 0
    for _ in range(3):
        end = p.expect(rb"TINY: ready", start=end).end()
    p.expect(rb"VM t: restarted", "err")
    p.stop()


def rename_restart(how, status):
    """Each end leaves a dead VM under another name and starts a new one, on the same console, until there is
    no memory for one more: that bounds the test."""
    def test(ctx):
        vm = ctx.vm_file("t", how, memory=128, **{"on_crash" if how == "kill" else "on_" + how: '"rename-restart"'})
        p = ctx.run(*FAST, "--host-memory", "512", "--vm", vm)
        check_status(p, status)
        p.expect(rb"t: kept as t-1.*t: kept as t-2.*refused: t: memory = 128 MiB, but the host has", "err")
        check(p.out.count(b"TINY: ready") == p.err.count(b"kept as"), "not every life reached its end")
    return test


def exit_widths(ctx):
    """The debug exit port at 8, 16 and 32 bits, with values on both sides of 31."""
    words = {"a": "exitb=0", "b": "exitb=31", "c": "exitb=32", "d": "exitb=255", "e": "exitw=5", "f": "exitw=65535",
             "g": "exit=65536"}
    files = [ctx.vm_file(n, w) for n, w in words.items()]
    p = ctx.run(*FAST, *[x for f in files for x in ("--vm", f)])
    check_status(p, 1)
    for n, w in words.items():
        said = f"VM {n}: ended, debug exit, value {w.partition('=')[2]}\n".encode()
        check(said in p.err, f"{said!r} is not on standard error")


def echo(ctx):
    """COM1 in both directions, byte for byte, more than a FIFO at once."""
    p = ctx.run(*FAST, "--kernel", TINY, "--memory", "64", "--cmdline", "echo exit=0", "--debug-exit")
    p.expect(rb"TINY: type\r\n")
    line = b"the quick brown fox jumps over the lazy dog; 0123456789"
    p.send(line + b"\n")
    p.expect(rb"TINY: echo " + line + rb"\r\n")
    p.send(b"a\x1db\nquit\n")
    p.expect(rb"TINY: echo a\x1db\r\n")
    check_status(p, 1)


def several(ctx):
    """Two VMs: each line has its owner's name; the first status that is not 0 counts."""
    p = ctx.run(*FAST, "--vm", ctx.vm_file("first", "poweroff"), "--vm", ctx.vm_file("second", "exit=3"),
                "--vm", ctx.vm_file("third", "exit=4"))
    check_status(p, 7)
    for name in (b"first", b"second", b"third"):
        check(name + b": TINY: ready\r\n" in p.out, f"no line of {name.decode()}")
    check(all(s.split(b": ")[0] in (b"first", b"second", b"third") for s in p.out.splitlines() if s),
          "a line without a name")


def beside_a_spinner(ctx):
    """One host CPU, a guest that never halts, and one that halts until somebody types: it gets its turn."""
    p = ctx.run(*FAST, "--vm", ctx.vm_file("waiter", "echo"), "--vm", ctx.vm_file("spinner", "spin"))
    p.expect(rb"spinner: TINY: ready")
    time.sleep(1)  # by now the waiter has halted and the spinner has the CPU to itself
    p.send(b"anybody there\n")
    p.expect(rb"waiter: .*anybody there")
    p.stop()


def together(ctx):
    """Six VMs on four CPUs end at about the same time; the host ends once, after the last of them."""
    files = [ctx.vm_file(f"v{i}", f"exit={i}") for i in range(6)]
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "4", *[x for f in files for x in ("--vm", f)])
    check_status(p, 1)
    for i in range(6):
        check(f"VM v{i}: ended, debug exit, value {i}\n".encode() in p.err, f"VM v{i} did not end as it should")
    check(p.err.count(b"every VM has ended") == 1, "the host did not end exactly once")


def lock_order(ctx):
    """A build that checks the order of locks: boot of four CPUs, VMs that die, are replaced and freed, and typing."""
    ctx.command("make", "-s", "B=build/debug", "EXTRA_CFLAGS=-DDALANG_DEBUG", "build/debug/dalang.elf")
    env = {"DALANG_TEST_ELF": os.path.join(ROOT, "build", "debug", "dalang.elf")}
    vms = [ctx.vm_file("a", "echo exit=1"), ctx.vm_file("b", "kill", on_crash='"restart"'),
           ctx.vm_file("c", "poweroff", on_poweroff='"rename-restart"', memory=128), ctx.vm_file("d", "exit=3")]
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "4", "--host-memory", "1024",
                *[x for f in vms for x in ("--vm", f)], env=env)
    p.expect(rb"a: TINY: type")
    p.send(b"hello\n")
    p.expect(rb"a: TINY: echo hello")
    p.expect(rb"VM b: restarted", "err")
    p.expect(rb"VM d: ended, debug exit, value 3", "err")
    p.expect(rb"refused: c: memory = 128 MiB, but the host has", "err")
    p.send(b"quit\n")
    p.expect(rb"VM a: ended, debug exit, value 1", "err")
    p.stop()
    check(b"panic" not in p.err, "a panic")


def killed_alone(ctx):
    """One VM that is killed takes no other with it."""
    p = ctx.run(*FAST, "--vm", ctx.vm_file("bad", "kill"), "--vm", ctx.vm_file("good", "echo exit=0"))
    p.expect(rb"VM bad: ended, killed", "err")
    check(b"good: TINY: hello" in p.out or p.expect(rb"good: TINY: hello"), "the other VM did not run")
    p.stop()


def stdin_end_is_no_end(ctx):
    p = ctx.run(*FAST, "--kernel", TINY, "--memory", "64", "--cmdline", "exit=2", "--debug-exit")
    check_status(p, 5)  # check_status closes standard input at once


def closed(ctx):
    """Standard input, output or all three closed by the caller, and a reader that goes away: the VM runs on."""
    line = "tools/dalang run --cpu amd --boot direct --host-cpus 1 --timeout 60 --debug-exit --cmdline exit=2 --kernel "
    for more in ("<&-", ">&-", "<&- >&- 2>&-", "2>/dev/null | head -c 5"):
        p = ctx.program(["bash", "-c", f"{line} {TINY!r} {more}; exit ${{PIPESTATUS[0]}}"], cwd=ROOT)
        check(p.finish() == 5, f"with {more}: status {p.finish()}, not 5")


def children(pid):
    """Process ids whose parent is pid."""
    found = []
    for d in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{d}/stat", encoding="ascii", errors="replace") as f:
                if int(f.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(d)
        except OSError:
            pass  # gone meanwhile
    return found


def signals(ctx):
    """A signal ends the emulator together with the tool."""
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        p = ctx.run(*FAST, "--kernel", TINY, "--memory", "64", "--cmdline", "hlt")
        p.expect(rb"TINY: ready")
        emulator = children(p.pid)
        check(len(emulator) == 1, f"{len(emulator)} children, not the emulator alone")
        os.kill(p.pid, number)
        check(p.finish() == status, f"signal {number}: status {p.finish()}, not {status}")
        check(not os.path.exists("/proc/" + emulator[0]), f"signal {number} left an emulator behind")


def same_twice(ctx):
    """--icount: two runs print the same, to the byte."""
    outs = []
    for _ in range(2):
        p = ctx.run("--cpu", "amd", "--boot", "direct", "--icount", "--kernel", TINY, "--memory", "64",
                    "--cmdline", "exit=0", "--debug-exit")
        check_status(p, 1)
        outs.append([s for s in p.err.splitlines() if s.startswith(b"[")])
    check(outs[0] and outs[0] == outs[1], "the host's log, with its times, differs between two runs")


CASES = [
    Case("end-poweroff", ends("poweroff", 0, b"VM t: ended, poweroff")),
    Case("end-debug-exit-0", ends("exit=0", 1, b"debug exit, value 0")),
    Case("end-debug-exit-31", ends("exit=31", 63, b"debug exit, value 31")),
    Case("end-debug-exit-large", ends("exit=4000000000", 63, b"debug exit, value 4000000000")),
    Case("end-reboot-destroy", ends("reboot", 0, b"VM t: ended, reboot", on_reboot='"destroy"')),
    Case("end-triple-fault-destroy", ends("triple", 0, b"VM t: ended, reboot", on_reboot='"destroy"')),
    Case("end-reboot-restart", restart),
    Case("end-reboot-preserve", ends("reboot", 0, b"VM t: ended, reboot", on_reboot='"preserve"')),
    Case("end-poweroff-preserve", ends("poweroff", 0, b"VM t: ended, poweroff", on_poweroff='"preserve"')),
    Case("end-killed-preserve", ends("kill", 70, b"VM t: ended, killed: ", on_crash='"preserve"')),
    Case("end-killed-restart", crash_restart),
    Case("end-killed-rename-restart", rename_restart("kill", 70)),
    Case("end-poweroff-rename-restart", rename_restart("poweroff", 64)),
    Case("end-debug-exit-widths", exit_widths),
    Case("end-killed", ends("kill", 70, b"VM t: ended, killed: ")),
    Case("end-timeout", ends("hang", 124, b"timeout", timeout=8)),
    Case("console-echo", echo),
    Case("console-stdin-end", stdin_end_is_no_end),
    Case("console-closed", closed),
    Case("end-signals", signals),
    Case("several-vms", several),
    Case("several-vms-one-killed", killed_alone),
    Case("several-vms-one-spins", beside_a_spinner),
    Case("several-vms-4-cpus", together),
    Case("lock-order", lock_order, seconds=40, timeout=600),
    Case("icount-repeats", same_twice),
]
