# SPDX-License-Identifier: BSD-2-Clause
"""The monitor as a person has it: consoles that are kept, shown and left again, on every way to it."""
import os
import re
import shlex

import image
from boots import BACKEND
from harness import ROOT, TINY, Case, check, check_backend, check_status
from util import built
from vmfiles import Pack

CTL = os.path.join(ROOT, "tools", "dalang")
PROMPT = rb"dalang> "
LEAVE = b"\x1d"


class Terminal:
    """Somebody at a terminal. Each see() goes on behind what the one before saw."""

    def __init__(self, program):
        self.p, self.at = program, 0

    def see(self, pattern):
        m = self.p.expect(pattern, start=self.at)
        self.at = m.end()
        return m

    def type(self, keys):
        self.p.send(keys)

    def do(self, line, pattern):
        """A line at the prompt, and its answer up to the next prompt."""
        self.type(line + b"\r")
        self.see(line + rb"\r?\n")
        m = self.see(pattern)
        self.see(PROMPT)
        return m


def visit_consoles(t):
    """Two VMs with the word "echo", a and b: into both, typing, editing, and back. b ends."""
    t.see(PROMPT)
    t.type(b"console b\r")
    t.see(rb"\[console of b; Ctrl-\] leads back\]\r\n")
    t.see(rb"TINY: hello.*TINY: type\r\n")  # it said so long ago
    t.type(b"over there\r\n")
    t.see(rb"TINY: echo over there\r\n")
    t.type(LEAVE)
    t.see(PROMPT)
    # Completion of verb and name; the cursor keys; the line before; a line that is no good.
    t.type(b"conso\t a\x01\x05\x1b[D\x1b[C\r")
    t.see(rb"\[console of a; ")
    t.see(rb"TINY: type\r\n")
    t.type(b"at a\n")
    t.see(rb"TINY: echo at a\r\n")
    t.type(LEAVE)
    t.see(PROMPT)
    t.do(b"help console", rb"console \[-t serial\|pv\|CHANNEL\] NAME")
    t.do(b"frob", rb"error: frob: no such verb")
    t.type(b"\x1b[A\x15list -j\r")
    t.see(rb'\{"vms":\[\{"name":"a".*"name":"b".*\]\}')
    t.see(PROMPT)
    # Back into the console that was left a moment ago, and Ctrl-] itself goes to the guest.
    t.type(b"console b\r")
    t.see(rb"TINY: echo over there\r\n")
    t.type(LEAVE + LEAVE + b"\n")
    t.see(PROMPT)
    t.see(rb"TINY: echo \x1d\r\n")
    t.type(LEAVE)
    t.see(PROMPT)


def by_ctl(cpu, boot):
    def test(ctx):
        path = os.path.join(ctx.dir, "control")
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", "1", "--control", path,
                    "--vm", ctx.vm_file("a", "echo exit=0"), "--vm", ctx.vm_file("b", "echo exit=0"))
        check_backend(p, BACKEND[cpu], 1)
        p.expect(rb"^a: TINY: type")
        p.expect(rb"^b: TINY: type")
        t = Terminal(ctx.program([CTL, "ctl", path]))
        visit_consoles(t)
        p.expect(rb"^b: TINY: echo over there\r\n")  # and where all consoles are
        p.expect(rb"^a: TINY: echo at a\r\n")
        t.type(LEAVE + b"x")
        check(t.p.finish() == 0, "ctl: Ctrl-] x did not end it")
        # A second visitor, straight into a console; it ends while he looks.
        t = Terminal(ctx.program([CTL, "ctl", path, "console", "b"]))
        t.see(rb"\[console of b; ")
        t.see(rb"TINY: echo \x1d\r\n")
        q = ctx.program([CTL, "ctl", path, "destroy", "b"])
        check(q.finish() == 0, "ctl destroy b")
        t.see(rb"\[b is gone\]\r\n")
        t.do(b"list", rb"a +1 +64 +1")
        p.send(b"quit\n")  # to the first VM, whatever the terminal shows
        check_status(p, 1)
        check(t.p.finish() == 0, "ctl: the host's end did not end it")
    return test


def plain(ctx):
    """A person with nothing but a terminal at the serial port: readable, and without a mark once he has typed."""
    pack = Pack()
    for v in (ctx.vm_file("a", "echo exit=0"), ctx.vm_file("b", "echo exit=0")):
        pack.add_vm(v)
    p = ctx.program(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-m", "512",
                     "-accel", "tcg", "-cpu", "EPYC,+svm,+npt", "-serial", "stdio", "-no-reboot",
                     "-kernel", built("dalang.elf"), "-initrd", image.archive(ctx.dir, pack.finish())])
    t = Terminal(p)
    for _ in range(2):
        t.see(rb"TINY: type\r\n")
    t.type(b"the first guest\n")
    t.see(rb"TINY: echo the first guest\r\n")
    t.type(LEAVE)
    visit_consoles(t)
    start = t.at
    t.type(b"des\tb")
    t.see(rb"destroy b")
    t.type(b"\x02\r")
    # The log's line takes the prompt's place; a prompt is the last thing there.
    t.see(rb"\r\x1b\[K\[\d+\.\d+\] info b: destroyed\r\n\rdalang> \x1b\[K")
    t.do(b"list", rb"a +1 +64 +1")
    t.type(b"console a\r")
    t.see(rb"TINY: echo at a\r\n")
    t.type(b"quit\n")
    t.see(rb"info every VM has ended")
    check(p.finish() == 0, "QEMU did not end by itself")
    check(b"\x1b_d" not in p.out[start:], "a mark of the framing on a person's terminal")
    check(b"\x1b_d!vm-start b 3" in p.out[:start], "nobody had typed, and there were no marks")


def by_run(ctx):
    """`tools/dalang run` on a terminal: the guest has it, Ctrl-] gives it to the monitor, Ctrl-] x ends all."""
    run = [CTL, "run", "--cpu", "amd", "--boot", "direct", "--host-cpus", "1", "--timeout", "60", "--kernel", TINY,
           "--memory", "64", "--debug-exit", "--cmdline", shlex.quote("echo exit=2")]
    end = {b"x": 130, b"console guest\rquit\n": 5}
    for keys, status in end.items():
        t = Terminal(ctx.program(["script", "-qefc", " ".join(run), "/dev/null"]))
        t.see(rb"TINY: type")
        t.type(b"hello\r\n")
        t.see(rb"TINY: echo hello")
        t.type(LEAVE)
        t.see(PROMPT)
        t.do(b"list", rb"guest +1 +64 +1")
        t.type(LEAVE + LEAVE if keys == b"x" else b"pause guest\runpause guest\r")
        t.see(PROMPT)
        t.type(keys if keys != b"x" else LEAVE + keys)
        check(t.p.finish() == status, f"{keys!r}: status {t.p.finish()}, not {status}")


def shape(text):
    """Of a transcript: each line that is typed, with the first line of its answer without numbers and states."""
    lines = text.splitlines()
    return [(line, re.sub(r"\d+|[-rbp]{3,}", "N", re.sub(r"\s+", " ", answer)))
            for line, answer in zip(lines, lines[1:]) if line.startswith(("dalang> ", "dalang-guest# "))]


def transcript(ctx):
    """The README's session can be played again, and is what the README says, but for the numbers."""
    p = ctx.command(os.path.join(ROOT, "tools", "transcript"), "--print")
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        said = f.read().partition("```text\ndalang> ")[2].partition("```")[0]
    got, want = shape(p.out.decode()), shape("dalang> " + said)
    check(len(got) > 10, f"only {len(got)} lines were typed")
    check(got == want, f"README.md says {want}, the host {got}; tools/transcript writes it anew")


CASES = [
    Case("transcript", transcript, seconds=30, timeout=400),
    Case("terminal-plain", plain, seconds=10, timeout=100),
    Case("terminal-run", by_run, seconds=15, timeout=130),
    Case("terminal-ctl-amd", by_ctl("amd", "direct"), seconds=10, timeout=100),
    Case("terminal-ctl-intel", by_ctl("intel", "grub"), seconds=25, timeout=200),
]
