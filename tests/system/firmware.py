# SPDX-License-Identifier: BSD-2-Clause
"""What firmware may hand over, and what the host makes of it: the tiny guest on odd machines."""
import os
import re
import shutil
import socket
import time

from harness import ROOT, TINY, Case, Failed, check, check_backend, check_host, check_status
from util import debian_package_file

AMD = ("--cpu", "amd", "--boot", "direct")
GUEST = ("--kernel", TINY, "--memory", "64", "--cmdline", "exit=5", "--debug-exit")
NO_ACPI = (rb"no ACPI tables: ",)
# QEMU's firmware of microvm leaves the MTRRs off, as at reset.
NO_MTRRS = rb"the firmware's MTRRs do not let \d+ KiB of its memory be cached"

GOOD = (b"[0.1] info Dalang 0.1: AMD-V (SVM, NPT), 2 of 2 CPUs\n"
        b"[0.2] info paging: checked, 60 leaves, none writable and executable, none of the guests' pool\n"
        b"[0.3] info every VM has ended: power-off\n")


class Said:
    """A run that has ended, as check_host() sees it."""

    def __init__(self, err):
        self.err = err


def checks_can_fail(_ctx):
    """The assertions that every boot test makes do catch what they are for."""
    check_host(Said(GOOD))
    check_host(Said(GOOD + b"[0.4] warning the moon is full\n"), allow=(rb"^the moon",))
    check_host(Said(b"dalang: Bochs, CPU x; boot by uefi; 1 host CPU(s)\n[0.0] warning no ACPI tables: x\n" + GOOD))
    for bad in (GOOD.replace(b"2 of 2", b"1 of 2"), GOOD.replace(b"paging", b"pages"), GOOD[:60],
                GOOD.replace(b"60 leaves", b"0 leaves"), b"[0.0] warning no ACPI tables: x\n" + GOOD,
                GOOD + b"[0.4] error CPU 1: on fire\n"):
        try:
            check_host(Said(bad))
        except Failed:
            continue
        check(False, f"nothing was found wrong with {bad!r}")


def machine(said, *options, cpu=None, kind=None, more="", cpus=2, backend="svm", allow=()):
    """The tiny guest on another machine; `said`: what the host's log must say of it."""
    def test(ctx):
        env = {"DALANG_TEST_OPTIONS": more}
        env.update({"DALANG_TEST_CPU": cpu} if cpu else {})
        env.update({"DALANG_TEST_MACHINE": kind} if kind else {})
        p = ctx.run(*(options or AMD), *GUEST, "--host-cpus", str(cpus), env=env)
        check_backend(p, backend, 1 if allow == NO_ACPI else cpus)
        check_status(p, 11, allow)
        p.expect(said, "err")
    return test


def no_clock(ctx):
    """Nothing to calibrate the TSC with: one line, and no guessing."""
    p = ctx.run(*AMD, *GUEST, env={"DALANG_TEST_MACHINE": "microvm,acpi=on,pit=off,pic=off,rtc=off"})
    check_status(p, 64)
    p.expect(rb"^dalang: refused: nothing tells how fast the TSC counts", "err")


def typed_without_interrupt(ctx):
    """No MADT, so COM1 has no interrupt: what is typed arrives all the same."""
    p = ctx.run(*AMD, "--kernel", TINY, "--memory", "64", "--cmdline", "echo exit=0", "--debug-exit",
                env={"DALANG_TEST_MACHINE": "pc", "DALANG_TEST_OPTIONS": "-no-acpi"})
    p.expect(rb"TINY: type\r\n")
    p.send(b"is anybody there\nquit\n")
    p.expect(rb"TINY: echo is anybody there\r\n")
    check_status(p, 1, NO_ACPI)


def poke(path, writes):
    """QEMU, stopped before its first instruction: write into physical memory through its gdb stub, let it go."""
    end = time.monotonic() + 30
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            break
        except OSError as e:
            check(time.monotonic() < end, f"QEMU's gdb stub does not listen: {e}")
            time.sleep(0.1)
    s.settimeout(10)
    commands = ["Qqemu.PhyMemMode:1"]
    commands += [f"M{at:x},{len(data):x}:{data.hex()}" for at, data in writes]
    for c in [*commands, "D"]:
        s.sendall(b"+$%s#%02x" % (c.encode(), sum(c.encode()) & 0xFF))
        got = b""
        while b"$OK#9a" not in got:
            piece = s.recv(256)
            check(piece and b"$E" not in got + piece, f"gdb stub: {c}: {got + piece!r}")
            got += piece
    s.close()


def iommu(device, said, writes):
    """Firmware left it on: translation is active when the host starts, and off in its log."""
    def test(ctx):
        path = os.path.join(ctx.dir, "gdb")
        p = ctx.run(*AMD, *GUEST,
                    env={"DALANG_TEST_OPTIONS": f"-device {device} -S -gdb unix:{path},server=on,wait=off"})
        poke(path, [(at, value.to_bytes(size, "little")) for at, size, value in writes])
        check_status(p, 11)
        p.expect(said, "err")
    return test


def font():
    with open(os.path.join(ROOT, "arch", "x86_64", "font.c"), encoding="ascii") as f:
        rows = [r.split() for r in re.findall(r'^\t"([.# ]*)",$', f.read(), re.M)]
    letters = [tuple(row[k] for row in rows[i:i + 9]) for i in range(0, len(rows), 9) for k in range(len(rows[i]))]
    check(len(letters) == 95, f"font.c has {len(letters)} letters")
    return {art: chr(32 + i) for i, art in enumerate(letters)}


def read_screen(path, letters):
    """The text on a screendump, a line a row; a cell that is no letter is '?'."""
    with open(path, "rb") as f:
        m = re.match(rb"P6\s(\d+) (\d+)\s255\s", head := f.read())
    check(m, "the screendump is no PPM")
    w, h, data = int(m[1]), int(m[2]), head[m.end():]
    scale = max((w + 320) // 640, 1)

    def dot(x, y):
        return "#" if data[3 * (y * w + x)] > 0x60 else "."

    rows = []
    for row in range(h // (10 * scale)):
        line = ""
        for col in range(w // (6 * scale)):
            cell = tuple("".join(dot((col * 6 + x) * scale + scale // 2, (row * 10 + y) * scale + scale // 2)
                                 for x in range(5)) for y in range(9))
            line += letters.get(cell, "?")
        rows.append(line.rstrip())
    return "\n".join(rows)


class Screen:
    """QEMU by itself, without any serial port: what its screen shows, and its keyboard."""

    def __init__(self, ctx, *options):
        ovmf = shutil.copy(debian_package_file("/usr/share/ovmf/OVMF.fd", "ovmf"), ctx.dir)
        self._log, self._shot, self._letters = ctx.log, os.path.join(ctx.dir, "shot.ppm"), font()
        self.text = ""
        self._end = time.monotonic() + 100
        self._p = ctx.program(["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "q35",
                               "-m", "512", "-smp", "2", "-bios", ovmf, "-vga", "std", "-serial", "none", "-monitor",
                               "stdio", "-no-reboot", "-no-shutdown", "-accel", "tcg,thread=multi", *options])

    def see(self, want, patience=2.0):
        """Wait until it shows this; returns all of its text."""
        while not re.search(want, self.text, re.M):
            check(time.monotonic() < self._end, f"{want!r} does not come up; the screen:\n{self.text}")
            time.sleep(patience)
            self._p.send(f"screendump {self._shot}.new\n".encode())
            time.sleep(patience / 2)
            if os.path.exists(self._shot + ".new"):
                os.replace(self._shot + ".new", self._shot)
                self.text = read_screen(self._shot, self._letters).rstrip()
        self._log.write(self.text.encode() + b"\n")
        return self.text

    def keys(self, *names):
        """Press them one after the other; QEMU's names, or a text's letters."""
        for name in names:
            for key in [name] if len(name) < 2 or name in KEYS or "-" in name[1:] else name:
                self._p.send(f"sendkey {KEYS.get(key, key)} 20\n".encode())
                time.sleep(0.08)  # QEMU's own queue of keys is short
        self.text = ""

    def quit(self):
        self._p.send(b"quit\n")


KEYS = {" ": "spc", "-": "minus", "ret": "ret", "tab": "tab", "up": "up", "left": "left", "backspace": "backspace",
        "delete": "delete", "end": "end"}


def screen(ctx, want, *options):
    s = Screen(ctx, *options)
    text = s.see(want)
    s.quit()
    return text


def stick(ctx, *vms):
    out = os.path.join(ctx.dir, "stick.img")
    words = [w for v in vms for w in ("--vm", v)]
    ctx.command(os.path.join(ROOT, "tools", "dalang"), "image", out, *words)
    return ("-drive", f"if=none,id=s,format=raw,file={out}", "-device", "qemu-xhci", "-device", "usb-storage,drive=s")


def usb_stick(ctx):
    """A stick with a VM on it, in a machine with a screen and no serial port."""
    text = screen(ctx, r"boot: \d+ ticks from entry", "-cpu", "EPYC,+svm,+npt",
                  *stick(ctx, ctx.vm_file("alone", "hang")))
    for line in (r"^\[0\.000000\] info Dalang, loaded by uefi at 0x", r"info no UART at 0x3f8",
                 r"info Dalang \S+: AMD-V \(SVM, NPT\), 2 of 2 CPUs$", r"info alone: multiboot1 kernel tiny.elf"):
        check(re.search(line, text, re.M), f"{line!r} is not on the screen:\n{text}")
    check("warning" not in text, f"a warning:\n{text}")


def refusal_on_screen(ctx):
    """A machine that cannot: the reason stands on the screen, with nothing else to read it from."""
    text = screen(ctx, r"neither AMD-V nor Intel VT-x", "-cpu", "EPYC,-svm", *stick(ctx))
    check(re.search(r"^\[\d+\.\d+\] error refused: this CPU has neither", text, re.M), f"not as a line:\n{text}")


def screen_monitor(ctx):
    """Nothing but screen and keyboard: `list`, into a guest, typing there, and back, with lines of the log between."""
    s = Screen(ctx, "-cpu", "EPYC,+svm,+npt", *stick(ctx, ctx.vm_file("alone", "echo exit=0"),
                                                     ctx.vm_file("other", "hlt")))
    # In whatever order the two CPUs say it.
    s.see(r"(?s)\A(?=.*info boot: \d+ ticks from entry)(?=.*info other: )(?=.*info alone: ).*\ndalang>\Z")
    s.keys("lit", "left", "s", "end", "ret")
    s.see(r"^dalang> list\nName +ID .*\nalone +1 +64 .*\nother +2 +64 .*\ndalang>\Z", 1)
    s.keys("cons", "tab", " al", "tab", "ret")
    s.see(r"^\[console of alone; Ctrl-\] leads back\]\nTINY: hello[^[]*TINY: type\Z", 1)
    s.keys("hi ", "shift-x", "1", "ret")
    s.see(r"^TINY: echo hi X1\Z", 1)
    s.keys("ctrl-bracket_right", "up", "up", "backspace", "delete", "t", "ret")
    s.see(r"^dalang> list\nName.*\nalone .*\nother .*\ndalang>\Z", 1)
    s.keys("destroy other", "ret")
    # The log's line stands above the prompt, which is there once.
    s.see(r"^dalang> destroy other\n(dalang>\n)?\[[0-9.]+\] info other: destroyed\ndalang>\Z", 1)
    s.quit()


GRUB_INTEL = ("--cpu", "intel", "--boot", "grub")
VTD = (rb"info IOMMU at 0xfed90000 \(VT-d\): firmware left it on; turned off",
       # root table; SRTP; translation, queue; and remapping of interrupts
       [(0xFED90020, 8, 0x1000000), (0xFED90018, 4, 1 << 30), (0xFED90018, 4, 1 << 31 | 1 << 26),
        (0xFED90018, 4, 1 << 31 | 1 << 26 | 1 << 25)])
AMDVI = (rb"info IOMMU at 0xfed80000 \(AMD-Vi\): firmware left it on; turned off",
         [(0xFED80018, 8, 1 | 1 << 12)])
CASES = [
    Case("host-checks-can-fail", checks_can_fail, seconds=1, memory=50),
    Case("machine-pc", machine(rb"0 MCFG ranges", kind="pc"), seconds=3),
    Case("machine-microvm", machine(rb"measured with the RTC", kind="microvm", allow=(NO_MTRRS,)), seconds=6),
    Case("machine-no-pit-no-hpet", machine(rb"measured with the PM timer", kind="q35,pit=off,hpet=off"), seconds=3),
    Case("machine-no-acpi", machine(rb"COM1 has no interrupt", kind="pc", more="-no-acpi", allow=NO_ACPI), seconds=3),
    Case("machine-sparse-apic-ids", machine(rb"6 of 6 CPUs online", more="-smp 6,sockets=2,cores=3,threads=1", cpus=6),
         seconds=4),
    Case("machine-la57", machine(rb"loaded by uefi", "--cpu", "amd", "--boot", "uefi", cpu="max,la57=on"), seconds=12),
    Case("machine-no-clock", no_clock, seconds=8),
    Case("machine-typed-no-interrupt", typed_without_interrupt, seconds=3),
    Case("iommu-off", machine(rb"\(VT-d\): off, as firmware left it", more="-device intel-iommu"), seconds=3),
    Case("iommu-vtd-left-on", iommu("intel-iommu,intremap=on", *VTD), seconds=3),
    Case("iommu-amd-left-on", iommu("amd-iommu", *AMDVI), seconds=3),
    Case("usb-stick-no-serial", usb_stick, seconds=25),
    Case("screen-and-keyboard", screen_monitor, seconds=35),
    Case("refusal-on-screen", refusal_on_screen, seconds=20),
    Case("bochs-skylake", machine(rb"backend vmx", *GRUB_INTEL, cpu="corei7_skylake_x", cpus=1, backend="vmx"), 15),
    Case("bochs-icelake", machine(rb"the measure holds", *GRUB_INTEL, cpu="corei7_icelake_u", cpus=1, backend="vmx"),
         15),
    Case("bochs-ryzen", machine(rb"backend svm", *GRUB_INTEL, cpu="ryzen", cpus=1), 15),
]
