# SPDX-License-Identifier: BSD-2-Clause
"""What the guest sees of its CPU: exceptions, NMIs, debug registers, the old modes; and the host's own NMIs."""
import json
import os
import random
import re
import socket
import time

from bare import Gdb
from harness import ROOT, Case, check, check_backend, check_status

CPUTEST = [os.path.join(ROOT, "build", "tests", "guests", n) for n in ("cputest.elf", "cputest32.elf")]
EMULATOR = {"amd": "tcg", "intel": "bochs"}
# As many checks as each guest makes, so that one that ends early cannot pass.
CHECKS = {"cputest": 120, "cputest32": 75}
RSP = 7  # its place among the registers of gdb's protocol for x86-64


def cputest(cpu, boot):
    """Both guests side by side; each check by name, those that the bare emulator fails are skipped."""
    def test(ctx):
        files = []
        for kernel in CPUTEST:
            name = os.path.basename(kernel)[:-len(".elf")]
            files += ["--vm", ctx.vm_file(name, f"emulator={EMULATOR[cpu]}", kernel=kernel)]
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", "1", *files)
        check_backend(p, {"amd": "svm", "intel": "vmx"}[cpu], 1)
        status = p.finish()
        failed = re.findall(rb"CPUTEST: (\S+) FAIL", p.out)
        check(not failed, "failed: " + " ".join(n.decode() for n in failed))
        check(status == 1, f"status {status}, not 1; stderr ends: {p.err[-400:].decode('utf-8', 'replace')}")
        for name, least in CHECKS.items():
            ok = len(re.findall(rb"^%s: CPUTEST: \S+ (ok|skip \()" % name.encode(), p.out, re.M))
            check(ok >= least, f"{name} made {ok} checks, fewer than {least}")
    return test


def _connect(path):
    """A socket that QEMU listens on."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    end = time.monotonic() + 20
    while True:
        try:
            s.connect(path)
            return s
        except OSError:
            check(time.monotonic() < end, f"QEMU does not answer at {os.path.basename(path)}")
            time.sleep(0.1)


def _qmp(path):
    """QEMU's monitor, past its greeting."""
    s = _connect(path)
    s.recv(4096)
    s.sendall(b'{"execute": "qmp_capabilities"}\n')
    s.recv(4096)
    return s


def host_nmi(ctx):
    """NMIs to the host at random moments while a guest makes exits: it counts them and goes on."""
    path = os.path.join(ctx.dir, "qmp")
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", "--vm", ctx.vm_file("t", "echo exit=0"),
                env={"DALANG_TEST_QMP": path})
    p.expect(rb"TINY: type\r\n")
    qmp = _qmp(path)
    moments = random.Random(1)
    sent = 0
    for _ in range(10):
        for _ in range(20):
            qmp.sendall(b'{"execute": "inject-nmi"}\n')
            check(b"error" not in qmp.recv(4096), "inject-nmi was refused")
            sent += 1
            time.sleep(moments.random() / 100)
        word = b"%d" % sent
        p.send(b"line " + word + b"\n")
        p.expect(rb"TINY: echo line " + word + rb"\r\n")
    p.send(b"quit\n")
    check_status(p, 1)
    counts = [int(n) for n in re.findall(rb"CPU \d+ took (\d+) NMIs", p.err)]
    # One that comes while another is handled is held, the next is lost: that is what NMIs do.
    check(counts and sent // 2 <= max(counts) <= sent, f"{sent} NMIs sent, counted are {counts}")


def _monitor(qmp, line):
    """What QEMU's monitor for people answers to a line."""
    qmp.sendall(json.dumps({"execute": "human-monitor-command", "arguments": {"command-line": line}}).encode() + b"\n")
    data = b""
    while True:
        data += qmp.recv(65536)
        for reply in data.splitlines() if data.endswith(b"\n") else ():
            reply = json.loads(reply)  # events come between
            check("error" not in reply, f"{line}: {reply}")
            if "return" in reply:
                return reply["return"]


def _idle_host(ctx, options=""):
    """A host that halts for ever beside its guest, and QEMU's monitor, open until the end: what is in a closed
    one is not done."""
    path = os.path.join(ctx.dir, "qmp")
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "1", "--vm", ctx.vm_file("t", "hang"),
                env={"DALANG_TEST_QMP": path, "DALANG_TEST_OPTIONS": options})
    p.expect(rb"TINY: ready\r\n")
    qmp = _qmp(path)
    end = time.monotonic() + 20
    while not re.search(r"^RIP=ffffffff8.* HLT=1", _monitor(qmp, "info registers"), re.M):
        check(time.monotonic() < end, "the host does not idle")
        time.sleep(0.05)
    return p, qmp


def host_machine_check(ctx):
    """An uncorrected machine check: the host says so by its own handler's stack, and stops.

    The guest halts for ever, so the host's idle loop is what it meets. In a guest QEMU 7.2's TCG does not ask
    the VMCB: it delivers #MC through the guest's own IDT, intercepted or not (APM vol. 2, 15.12: it exits)."""
    p, qmp = _idle_host(ctx)
    _monitor(qmp, "mce 0 1 0xb200000000000000 0x5 0 0")
    p.expect(rb"#MC machine check", "err")
    check_status(p, 72)


def host_double_fault(ctx):
    """The idle host's stack pointer leads to no memory when the serial port interrupts: the interrupt's frame is
    a #PF, the #PF's a #DF, which has a stack of its own to say so on."""
    path = os.path.join(ctx.dir, "gdb")
    p, qmp = _idle_host(ctx, f"-chardev socket,id=gdb,path={path},server=on,wait=off -gdb chardev:gdb")
    gdb = _connect(path)
    stub = Gdb(gdb)
    check(stub.answer().startswith(b"T02"), "the stub does not stop the machine")
    regs = stub.ask(b"g")
    check(stub.ask(b"G" + regs[:RSP * 16] + (0xffff9000_00000000).to_bytes(8, "little").hex().encode() +
                   regs[RSP * 16 + 16:]) == b"OK", "the stub does not write registers")
    stub.ask(b"D")
    p.send(b"x")
    p.expect(rb"#DF double fault", "err")
    check_status(p, 72)
    qmp.close()


def timer_interrupts(ctx):
    """Thousands that come due in a window request's entries, each waited for: is none lost?"""
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", "--vm", ctx.vm_file("t", "ticks=8000 exit=0"))
    check_status(p, 1)
    check(b"TINY: ticks ok" in p.out, "the guest did not count its interrupts")


CASES = [
    Case("cputest-amd", cputest("amd", "direct"), 10),
    Case("cputest-intel", cputest("intel", "grub"), 30, timeout=400),
    Case("timer-interrupts", timer_interrupts, 10, timeout=100),
    Case("host-nmi", host_nmi, 15),
    Case("host-double-fault", host_double_fault, 10, timeout=60),
    Case("host-machine-check", host_machine_check, 10, timeout=60),
]
