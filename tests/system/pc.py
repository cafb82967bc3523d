# SPDX-License-Identifier: BSD-2-Clause
"""The old PC's devices: by a guest of our own on both vendors, and as Linux' drivers see them."""
import os
import re

import guests
from boots import BACKEND
from control import ask
from harness import ROOT, Case, check, check_backend, check_status
from image import Cpio
from kernels import kernel
from lifecycle import Host
from torture import check_report
from util import GUEST_DIR, guest_file

PCTEST = os.path.join(ROOT, "build", "tests", "guests", "pctest.elf")
CHECKS = 21
STRINGS = {"debugcon": 1, "fw_cfg": '[ "opt/test/a=hello" ]'}


def passed(p, name=b""):
    failed = re.findall(rb"PC: (\S+) FAILED", p.out)
    check(not failed, f"failed: {failed}")
    ok = re.findall(rb"^" + name + rb"PC: (\S+) ok", p.out, re.M)
    check(len(set(ok)) >= CHECKS, f"{len(set(ok))} checks passed, fewer than {CHECKS}")


def pctest(cpu, boot, cpus=1, **more):
    def test(ctx):
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(cpus),
                    "--vm", ctx.vm_file("p", "exit", kernel=PCTEST, **STRINGS, **more))
        check_backend(p, BACKEND[cpu], cpus)
        check_status(p, 1)
        passed(p)
        if "torture" in more:
            check_report(p, cpus, 1)
    return test


def started(ctx, cpu, boot, words):
    host = Host(ctx)
    p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", "1", "--control", host.path, "--vm",
                ctx.vm_file("p", words, kernel=PCTEST, **STRINGS))
    p.expect(rb"PC: ready")
    return host, p


def keys(ctx):
    """The monitor's sendkey, code by code; and what it says of keys that are none."""
    host, p = started(ctx, "amd", "direct", "keys exit")
    at = p.expect(rb"PC: keys").end()
    for chord, want in (("a", "1e 9e"), ("ctrl-alt-delete", "1d 38 e0 53 e0 d3 b8 9d"), ("0xb7", "e0 37 e0 b7")):
        host.do(f"sendkey p {chord}")
        codes = rb"\s+".join(b"PC: code " + c.encode() for c in want.split())
        at = p.expect(codes, start=at).end()
    for bad, said in (("hyper", "no such key"), ("", "no such key"), ("a-b-c-d-e", "more than four")):
        _, wrong = ask(host.path, f"sendkey p {bad}")
        check(wrong and said in wrong, f"sendkey {bad!r}: {wrong}")
    host.do("sendkey p esc")
    check_status(p, 1)


def button(ctx):
    """PM1: the power button raises the SCI once, no sleep state but S5 does anything."""
    host, p = started(ctx, "amd", "direct", "button")
    p.expect(rb"PC: press the button")
    host.do("shutdown p")
    check_status(p, 0)
    passed(p)


def resets(ctx):
    """Each way to reset a PC, told apart by the host's log."""
    ways = {"kbd": "the keyboard controller", "out": "the keyboard controller", "92": "port 0x92",
            "cf9": "the reset control register", "cf9-full": "the reset control register"}
    files = [ctx.vm_file(f"v-{w}", f"reset={w}", kernel=PCTEST, on_reboot='"destroy"', **STRINGS) for w in ways]
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "1", *[x for f in files for x in ("--vm", f)])
    check_status(p, 0)
    for way, by in ways.items():
        check(f" v-{way}: ended by a reboot, by {by}".encode() in p.err, f"reset={way} was not by {by}")


def linux_resets(ctx):
    """Linux' reboot=: by ACPI and by PCI's port it is the reset control register. (reboot=bios jumps to one.)"""
    ways = {"a": "the reset control register", "p": "the reset control register", "k": "the keyboard controller",
            "t": "a triple fault"}
    files = [ctx.vm_file(f"v-{w}", f"{guests.CMDLINE} reboot={w} restart", kernel=guest_file("vmlinuz"), memory=192,
                         ramdisk=f'"{guests.initramfs()}"', on_reboot='"destroy"') for w in ways]
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", *[x for f in files for x in ("--vm", f)])
    check_status(p, 0)
    for way, by in ways.items():
        check(f" v-{way}: ended by a reboot, by {by}".encode() in p.err, f"reboot={way} was not by {by}")


def regions(ctx):
    """docs/pc.md says what a running VM's table says."""
    host, p = started(ctx, "amd", "direct", "hlt")
    there = {tuple(line.split()) for line in host.do("regions p")}
    host.do("destroy p")
    check_status(p, 0)
    with open(os.path.join(ROOT, "docs", "pc.md"), encoding="utf-8") as f:
        said = {tuple(c.strip() for c in line.split("|")[1:4]) for line in f if re.match(r"\| (port|memory) ", line)}
    check(len(there) > 20, f"only {len(there)} regions")
    check(there == said, f"docs/pc.md lacks {sorted(there - said)} and has {sorted(said - there)}, which are not there")


INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /sbin
/bin/busybox --install -s
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in evdev psmouse qemu_fw_cfg button; do insmod /$m.ko; done
node() { grep -lx "$1" /sys/class/input/event*/device/name | sed 's,.*/\\(event[0-9]*\\)/.*,/dev/input/\\1,'; }
while ! grep -q 'Name=.*Mouse' /proc/bus/input/devices; do sleep 1; done
echo "NAMES $(grep -h . /sys/class/input/event*/device/name | tr '\\n' ';')"
echo "IRQS $(awk '/i8042/ {n++} END {print n}' /proc/interrupts)"
dmesg -r | grep -E '^<[0-4]>' | grep -iE 'i8042|atkbd|psmouse|serio|fw_cfg|ps/2' | sed 's/^/COMPLAINT /'
echo "FWCFG $(cat /sys/firmware/qemu_fw_cfg/rev) $(cat /sys/firmware/qemu_fw_cfg/by_name/opt/test/a/raw)" \\
	"$(wc -c </sys/firmware/qemu_fw_cfg/by_name/etc/e820/raw)"
exec 3<"$(node 'AT Translated Set 2 keyboard')" 4<"$(node 'Power Button')" 5<"$(node 'ImExPS/2 Generic Explorer Mouse')"
echo "WAIT key"
echo "KEYS" $(dd bs=24 count=6 <&3 2>/dev/null | od -An -v -tu2)
echo "WAIT mouse"
echo "MOUSE" $(dd bs=24 count=5 <&5 2>/dev/null | od -An -v -tu2)
echo "WAIT button"
echo "BUTTON" $(dd bs=24 count=1 <&4 2>/dev/null | od -An -v -tu2)
poweroff -f
"""


def events(line):
    """(type, code, value) of each struct input_event, from 16-bit words."""
    w = [int(x) for x in line.split()]
    return [(w[i + 8], w[i + 9], w[i + 10]) for i in range(0, len(w), 12)]


def linux_drivers(ctx):
    """Debian's generic kernel with its drivers for keyboard, mouse, fw_cfg and power button: each finds its device,
    none complains, and what is typed arrives."""
    c = Cpio()
    for d in ("bin", "dev", "proc", "sys"):
        c.folder(d)
    c.chardev("dev/console", 5, 1)
    vmlinuz = kernel("generic")
    for name in ("evdev", "psmouse", "qemu_fw_cfg", "button"):
        with open(os.path.join(GUEST_DIR, name + ".ko"), "rb") as f:
            c.file(name + ".ko", f.read())
    with open(guest_file("busybox"), "rb") as f:
        c.file("bin/busybox", f.read())
    c.file("init", INIT.encode())
    host = Host(ctx)
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "1", "--control", host.path, "--vm",
                ctx.vm_file("p", guests.CMDLINE, kernel=vmlinuz, memory=256, **STRINGS,
                            ramdisk='"' + ctx.file("initrd", c.bytes()) + '"'))
    m = p.expect(rb"^NAMES (.*?)\r?$.*^IRQS (\d+)\r?$(.*)^FWCFG (.*?)\r?$.*^WAIT key")
    names = m.group(1).decode()
    for name in ("AT Translated Set 2 keyboard", "ImExPS/2 Generic Explorer Mouse", "Power Button"):
        check(name in names.split(";"), f"Linux has no {name}, only {names}")
    check(m.group(2) == b"2", f"the controller has {m.group(2)} interrupts, not 2")
    check(b"COMPLAINT" not in m.group(3), f"Linux complains: {m.group(3)}")
    check(re.fullmatch(rb"3 hello \d+", m.group(4)) and int(m.group(4).split()[2]) % 20 == 0, f"fw_cfg: {m.group(4)}")
    host.do("sendkey p a")
    m = p.expect(rb"^KEYS (.*?)\r?$.*^WAIT mouse", start=m.end())
    got = [e for e in events(m.group(1)) if e[0] == 1]
    check(got == [(1, 30, 1), (1, 30, 0)], f"typed was an a, Linux has {got}")
    host.do("sendmouse p 5,-3,1,2")
    m = p.expect(rb"^MOUSE (.*?)\r?$.*^WAIT button", start=m.end())
    got = [e for e in events(m.group(1)) if e[0]]
    # BTN_RIGHT, REL_X, REL_Y (downwards), REL_WHEEL (upwards) and its finer twin.
    check({(1, 273, 1), (2, 0, 5), (2, 1, 3), (2, 8, 0xffff)} <= set(got), f"the mouse was moved, Linux has {got}")
    host.do("shutdown p")
    m = p.expect(rb"^BUTTON (.*?)\r?$", start=m.end())
    check(events(m.group(1)) == [(1, 116, 1)], f"the power button was pressed, Linux has {events(m.group(1))}")
    check_status(p, 0)


CASES = [
    Case("pc-amd", pctest("amd", "direct"), seconds=5, timeout=100),
    Case("pc-intel", pctest("intel", "grub"), seconds=25, timeout=400),
    Case("torture-pc-amd", pctest("amd", "direct", cpus=2, torture=9), seconds=10, timeout=200),
    Case("torture-pc-intel", pctest("intel", "grub", torture=9), seconds=40, timeout=400),
    Case("pc-keys", keys, seconds=5, timeout=100),
    Case("pc-power-button", button, seconds=5, timeout=100),
    Case("pc-resets", resets, seconds=10, timeout=100),
    Case("pc-regions", regions, seconds=5, timeout=100),
    Case("pc-linux-resets", linux_resets, seconds=40, timeout=400),
    Case("pc-linux-drivers", linux_drivers, seconds=40, timeout=400),
]
