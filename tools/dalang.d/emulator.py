# SPDX-License-Identifier: BSD-2-Clause
"""Starts QEMU or Bochs and gives the host's COM1 as a connected socket."""
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time

import image
from util import TOOL, Fail, built, debian_package_file, die_with_parent

OVMF = "/usr/share/ovmf/OVMF.fd"
BOCHS_BIOS = "/usr/share/bochs/BIOS-bochs-latest"
VGABIOS = "/usr/share/vgabios/vgabios.bin"


# For tests and for trying other machines, docs/machines.md: another CPU or Bochs model than the one that
# has all we need, another QEMU machine (-M), more of QEMU's options.
TEST_CPU = os.environ.get("DALANG_TEST_CPU")
TEST_MACHINE = os.environ.get("DALANG_TEST_MACHINE")
TEST_OPTIONS = os.environ.get("DALANG_TEST_OPTIONS", "")
# And a socket for QEMU's monitor, by which a test plays tricks on the machine.
TEST_QMP = os.environ.get("DALANG_TEST_QMP")
# And a folder where each machine's port 0xe9 leaves a file: what a coverage build says at its end.
TEST_E9 = os.environ.get("DALANG_TEST_E9")


def _e9_file():
    fd, path = tempfile.mkstemp(suffix=".e9", dir=TEST_E9)
    os.close(fd)
    return path


class Emulator:
    # Bytes a second that COM1 may be given; None: the emulator itself holds the sender back.
    input_rate = None

    def __init__(self, argv, work, what):
        self.what = what
        self.sock = None
        self._argv = argv
        self._cwd = None
        self._output = os.path.join(work, "emulator.out")
        self._proc = None

    def _spawn(self, pass_fds=()):
        with open(self._output, "wb") as out:
            try:
                self._proc = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=out,
                                              stderr=subprocess.STDOUT, pass_fds=pass_fds, cwd=self._cwd,
                                              preexec_fn=die_with_parent)
            except OSError as e:
                raise Fail(TOOL, f"cannot run {self._argv[0]}: {e.strerror}; tools/setup installs it") from e

    def poll(self):
        return self._proc.poll()

    def acknowledge(self):
        """At once, not 40 ms later. Bochs writes byte by byte; what waits for us meanwhile is lost when it ends while bytes that
        it has not read wait for it (RFC 1122, 4.2.2.13)."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def wait(self, seconds):
        try:
            return self._proc.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        """End it, gently first: Bochs removes its lock files on SIGTERM."""
        if self._proc is None or self._proc.poll() is not None:
            return
        for sig, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 10)):
            self._proc.send_signal(sig)
            if self.wait(patience) is not None:
                return

    def last_words(self):
        """What it said, for the message when it failed."""
        try:
            with open(self._output, "rb") as f:
                text = f.read()[-4000:].decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [s for s in text.splitlines() if s.strip() and "doesn't support requested feature" not in s]
        return " | ".join(lines[-6:])


def _tcp_pair():
    """Two connected sockets. TCP, since QEMU writes byte by byte: a Unix socket charges each byte a
    buffer of its own and is full after some hundred, and then the UART drops what it cannot send."""
    with socket.socket() as listen:
        listen.bind(("127.0.0.1", 0))
        listen.listen(1)
        theirs = socket.create_connection(listen.getsockname())
        ours, _ = listen.accept()
    for s in (ours, theirs):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


class Qemu(Emulator):
    def __init__(self, machine, boot, cpus, memory, files, work, icount, devices):
        argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                "-M", TEST_MACHINE or "q35", "-smp", str(cpus), "-m", str(memory), "-nic", "none",
                "-no-reboot", "-boot", "menu=off"]
        if not (TEST_MACHINE or "").startswith("microvm"):
            argv += ["-vga", "std"]
        if machine.kind == "kvm":
            argv += ["-accel", "kvm", "-cpu", "host"]
        else:
            argv += ["-accel", "tcg,thread=" + ("single" if icount else "multi"),
                     "-cpu", TEST_CPU or "EPYC,+svm,+npt"]
        if TEST_E9:
            argv += ["-debugcon", f"file:{_e9_file()}"]
        if TEST_QMP:
            argv += ["-qmp", f"unix:{TEST_QMP.replace(',', ',,')},server=on,wait=off"]
        if icount:
            # Firmware's delays do not end at one tick an instruction.
            shift = 0 if boot == "direct" else 6
            argv += ["-icount", f"shift={shift},sleep=off", "-seed", "1",
                     "-rtc", "base=2026-01-01T00:00:00,clock=vm"]
        if boot == "uefi":
            argv += ["-bios", debian_package_file(OVMF, "ovmf"),
                     "-drive", f"if=none,id=esp,format=raw,file={image.esp(work, files).replace(',', ',,')}",
                     "-device", "ide-hd,drive=esp,bus=ide.0,bootindex=0"]
        elif boot == "grub":
            argv += ["-drive", f"if=none,id=cd,media=cdrom,format=raw,readonly=on,"
                               f"file={image.iso(work, files, True).replace(',', ',,')}",
                     "-device", "ide-cd,drive=cd,bus=ide.0,bootindex=0"]
        else:
            argv += ["-kernel", built("dalang.elf"), "-initrd", image.archive(work, files)]
        super().__init__(argv + devices + shlex.split(TEST_OPTIONS), work, machine.describe())

    def start(self):
        ours, theirs = _tcp_pair()
        self._argv += ["-chardev", f"socket,id=com1,fd={theirs.fileno()}", "-serial", "chardev:com1"]
        self._spawn(pass_fds=(theirs.fileno(),))
        theirs.close()
        self.sock = ours


class Bochs(Emulator):
    # Its UART drops what arrives while the 16-byte FIFO is full.
    input_rate = 200

    RC = """display_library: rfb, options="timeout=0"
config_interface: textconfig
megs: {memory}
romimage: file={rom}{fast}
vgaromimage: file={vgabios}
vga: extension=vbe, update_freq=1
pci: enabled=1, chipset=i440fx, slot1=pcivga
cpu: model={model}, count={cpus}, ips=100000000, reset_on_triple_fault=0
clock: sync=none, time0=utc
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
port_e9_hack: enabled=1
mouse: enabled=0
speaker: enabled=0
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
{drives}
log: bochs.log
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
"""

    def __init__(self, machine, boot, cpus, memory, files, work, icount, devices):
        assert not icount and boot != "direct" and not devices
        if boot == "uefi":
            rom, fast = debian_package_file(OVMF, "ovmf"), ""
            # Without a second channel OVMF waits for it for minutes.
            drives = (f"ata0-master: type=disk, path={os.path.basename(image.esp(work, files))}, mode=flat\n"
                      "ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15\nboot: disk")
        else:
            rom, fast = debian_package_file(BOCHS_BIOS, "bochsbios"), ", options=fastboot"
            drives = (f"ata0-master: type=cdrom, path={os.path.basename(image.iso(work, files, False))}, status=inserted\n"
                      "ata1: enabled=0\nboot: cdrom")
        self._listen = socket.socket()
        self._listen.bind(("127.0.0.1", 0))
        self._listen.listen(1)
        rc, go = os.path.join(work, "bochsrc"), os.path.join(work, "continue")
        with open(rc, "w") as f:
            f.write(self.RC.format(memory=memory, rom=rom, fast=fast, cpus=cpus, drives=drives,
                                   vgabios=debian_package_file(VGABIOS, "vgabios"),
                                   model=TEST_CPU or "corei7_haswell_4770", port=self._listen.getsockname()[1]))
        with open(go, "w") as f:
            f.write("c\n")  # Debian's build stops in its debugger first
        # It stands in the work folder: a blank or a comma in that folder's name would end a path in a bochsrc.
        super().__init__(["bochs", "-q", "-f", "bochsrc", "-rc", "continue"], work, machine.describe())
        self._cwd = work
        if TEST_E9:
            self._output = _e9_file()
        self._log = os.path.join(work, "bochs.log")

    def start(self):
        self._spawn()
        self._listen.settimeout(1)
        end = time.monotonic() + 30
        while time.monotonic() < end and self.poll() is None:
            try:
                self.sock, _ = self._listen.accept()
                break
            except socket.timeout:
                pass
        self._listen.close()
        if self.sock is None:
            self.kill()
            raise Fail(TOOL, f"Bochs did not start: {self.last_words()}")
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def last_words(self):
        words = super().last_words()
        try:
            with open(self._log, errors="replace") as f:
                panics = [s.strip() for s in f if ">>PANIC<<" in s]
        except OSError:
            panics = []
        return " | ".join(panics[-3:] or [words])


def make(machine, boot, cpus, memory, files, work, icount, devices=()):
    """devices: more of QEMU's options."""
    kind = Bochs if machine.kind == "bochs" else Qemu
    return kind(machine, boot, cpus, memory, files, work, icount, list(devices))


def command_line(emulator):
    return shlex.join(emulator._argv)
