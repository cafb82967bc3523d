# SPDX-License-Identifier: BSD-2-Clause
"""A Linux kernel on the bare emulated machine that Dalang's numbers and logs are compared with, and the
probe (tests/guests/probe.c), the /init that tells what the kernel met on its way."""
import os
import re
import tempfile
import select
import signal
import socket
import subprocess
import time

from image import Cpio
from util import BUILD, TOOL, Fail, built, die_with_parent

# QEMU -kernel puts the protected-mode part here; the 64-bit entry is at +0x200 (boot.rst).
ENTRY64 = 0x100200
SCRATCH = 0x7000  # low memory that no loader uses at that moment
RIP = 16          # its place among the registers of gdb's protocol for x86-64
RECORD = re.compile(r"KMSG (\d) (.*)")


def initramfs():
    """build/guest/probe.cpio: the probe and the two device nodes it needs."""
    path = os.path.join(BUILD, "guest", "probe.cpio")
    c = Cpio()
    c.folder("dev")
    c.chardev("dev/console", 5, 1)
    c.chardev("dev/kmsg", 1, 11)
    with open(built("tests/guests/probe"), "rb") as f:
        c.file("init", f.read())
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as f:
        f.write(c.bytes())
    os.replace(f.name, path)
    return path


class Report:
    """What the probe printed: the kernel's version, the TSC at /init, the warnings (level, text)."""

    def __init__(self, text):
        text = text.replace("\r", "")
        tsc = re.search(r"PROBE tsc=([0-9a-f]{16})", text)
        if not tsc or "PROBE end" not in text:
            raise Fail(TOOL, f"the kernel did not reach /init and its end; it last said: {text[-600:].strip()}")
        self.text = text
        self.tsc = int(tsc.group(1), 16)
        self.version = re.search(r"PROBE (\S+ (?:i686|x86_64))", text).group(1)
        self.warnings = [(int(m.group(1)), m.group(2)) for m in RECORD.finditer(text)]


class Gdb:
    """As much of gdb's remote protocol as reading the TSC at an address takes."""

    def __init__(self, sock):
        self._sock, self._buf = sock, b""

    def ask(self, packet, timeout=60.0):
        self._sock.sendall(b"$%s#%02x" % (packet, sum(packet) & 0xff))
        return self.answer(timeout, packet)

    def answer(self, timeout=60.0, packet=b"at all"):
        """The next packet, be it to a question or because the machine stopped."""
        end = time.monotonic() + timeout
        while True:
            m = re.search(rb"\$([^#]*)#..", self._buf, re.S)
            if m:
                self._buf = self._buf[m.end():]
                self._sock.sendall(b"+")
                return m.group(1)
            if not select.select([self._sock], [], [], max(0.0, end - time.monotonic()))[0]:
                raise Fail(TOOL, f"QEMU's gdb stub does not answer {packet.decode()}")
            data = self._sock.recv(65536)
            if not data:
                raise Fail(TOOL, "QEMU ended under its gdb stub")
            self._buf += data

    def tsc_at(self, address):
        """Run to address, execute an RDTSC of our own there, and leave no trace but its one tick."""
        self.ask(b"Z1,%x,1" % address)
        self.ask(b"c")
        self.ask(b"z1,%x,1" % address)
        regs = self.ask(b"g")
        old = self.ask(b"m%x,2" % SCRATCH)
        self.ask(b"M%x,2:0f31" % SCRATCH)
        at = RIP * 16
        self.ask(b"G" + regs[:at] + SCRATCH.to_bytes(8, "little").hex().encode() + regs[at + 16:])
        self.ask(b"s")
        got = self.ask(b"g")
        rax, rdx = (int.from_bytes(bytes.fromhex(got[i * 16:i * 16 + 16].decode()), "little") for i in (0, 3))
        self.ask(b"M%x,2:%s" % (SCRATCH, old))
        self.ask(b"G" + regs)
        self._sock.sendall(b"$D#44")  # detach: it runs on
        return rdx << 32 | rax


def run(kernel, cmdline, timeout, memory=256, ramdisk=None, icount=True, entry=False):
    """(serial output, TSC at the 64-bit entry or None) of kernel on QEMU's q35 with the CPU that the host
    has elsewhere. The machine ends through the debug exit port."""
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-smp", "1",
            "-m", str(memory), "-no-reboot", "-nic", "none", "-accel", "tcg,thread=single", "-cpu", "EPYC",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", kernel, "-append", cmdline,
            "-initrd", ramdisk or initramfs()]
    if icount:
        argv += ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01T00:00:00,clock=vm"]
    ours, theirs = socket.socketpair()
    gdb = socket.socketpair() if entry else ()
    argv += ["-chardev", f"socket,id=com1,fd={theirs.fileno()}", "-serial", "chardev:com1"]
    if entry:
        argv += ["-chardev", f"socket,id=gdb,fd={gdb[1].fileno()}", "-gdb", "chardev:gdb", "-S"]
    fds = [s.fileno() for s in (theirs, *gdb[1:])]
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=fds,
                         preexec_fn=die_with_parent)
    theirs.close()
    out, end, tsc = b"", time.monotonic() + timeout, None
    try:
        if entry:
            gdb[1].close()
            tsc = Gdb(gdb[0]).tsc_at(ENTRY64)
        while b"PROBE end" not in out:
            if not select.select([ours], [], [], max(0.0, end - time.monotonic()))[0]:
                break
            data = ours.recv(65536)
            if not data:
                break
            out += data
    finally:
        p.send_signal(signal.SIGKILL)
        said = p.communicate()[1].decode("utf-8", "replace")
        for s in (ours, *gdb[:1]):
            s.close()
    if not out:
        raise Fail(TOOL, f"QEMU printed nothing on the serial port: {said.strip()[-300:]}")
    return out.decode("utf-8", "replace"), tsc
