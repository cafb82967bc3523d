# SPDX-License-Identifier: BSD-2-Clause
"""What the host boots from: an EFI system volume, a GRUB CD, or one archive; and Linux's initramfs."""
import io
import os
import shutil
import stat
import subprocess
import tarfile

from util import TOOL, Fail, built

GRUB_I386 = "/usr/lib/grub/i386-pc"


def _tool(argv):
    try:
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           env={**os.environ, "MTOOLS_SKIP_CHECK": "1"})
    except OSError as e:
        raise Fail(TOOL, f"cannot run {argv[0]}: {e.strerror}") from e
    if r.returncode:
        raise Fail(TOOL, f"{argv[0]} failed: {(r.stderr or r.stdout).strip()}")


def _stage(folder, files):
    """Lay files (name -> path or bytes) out under folder."""
    for name, src in files.items():
        to = os.path.join(folder, name)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        if isinstance(src, bytes):
            with open(to, "wb") as f:
                f.write(src)
        else:
            shutil.copyfile(src, to)


def _size(src):
    return len(src) if isinstance(src, bytes) else os.path.getsize(src)


def esp(work, files, hidden=0):
    """A FAT32 volume with \\EFI\\BOOT\\BOOTX64.EFI and \\dalang\\*; hidden: sectors before it on its disk."""
    tree = os.path.join(work, "esp")
    _stage(tree, {"EFI/BOOT/BOOTX64.EFI": built("BOOTX64.EFI"),
                  "dalang/dalang.elf": built("dalang.elf"),
                  **{"dalang/" + n: s for n, s in files.items()}})
    need = sum(_size(s) for s in files.values()) + os.path.getsize(built("dalang.elf"))
    # FAT32 must have 65,525 clusters; whole cylinders, since Bochs derives the geometry.
    cylinder = 16 * 63 * 512
    size = -(-max(64 << 20, need + need // 16 + (8 << 20)) // cylinder) * cylinder
    img = os.path.join(work, "esp.img")
    with open(img, "wb") as f:
        f.truncate(size)
    _tool(["mformat", "-i", img, "-F", "-h", "16", "-s", "63", "-v", "DALANG", "-H", str(hidden),
           "-T", str(size // 512), "::"])
    _tool(["mcopy", "-i", img, "-s", "-Q", os.path.join(tree, "EFI"), os.path.join(tree, "dalang"),
           "::/"])
    shutil.rmtree(tree)
    return img


def grub_cfg(files, screen):
    lines = ["set timeout=0", "set pager=0", "multiboot2 /dalang/dalang.elf"]
    lines += [f"module2 /dalang/{n} {n}" for n in files]
    lines += [] if screen else ["set gfxpayload=text"]
    return ("\n".join(lines) + "\nboot\n").encode()


def iso(work, files, screen):
    """A BIOS CD: GRUB loads Dalang by multiboot2, the files as modules. screen: in a graphics mode. Not in
    Bochs: there GRUB 2.06 finds no mode but one of 8 bits, and with that it jumps into nowhere."""
    if not os.path.isdir(GRUB_I386):
        raise Fail(TOOL, f"{GRUB_I386} is missing; package grub-pc-bin has it")
    tree = os.path.join(work, "cd")
    _stage(tree, {"boot/grub/grub.cfg": grub_cfg(files, screen), "dalang/dalang.elf": built("dalang.elf"),
                  **{"dalang/" + n: s for n, s in files.items()}})
    img = os.path.join(work, "cd.iso")
    _tool(["grub-mkrescue", "-d", GRUB_I386, "-o", img, "--fonts=", "--themes=", "--locales=",
           "--install-modules=normal multiboot2 iso9660 biosdisk part_msdos", tree])
    shutil.rmtree(tree)
    return img


def archive(work, files):
    """One ustar file, for a loader that passes only one module."""
    path = os.path.join(work, "files.tar")
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, src in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = _size(src), 0o644
            if isinstance(src, bytes):
                tar.addfile(info, io.BytesIO(src))
            else:
                with open(src, "rb") as f:
                    tar.addfile(info, f)
    return path


class Cpio:
    """Linux's initramfs: the newc format, written without root and without the cpio program."""

    def __init__(self):
        self._out = bytearray()
        self._ino = 0

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        self._ino += 1
        raw = name.encode() + b"\0"
        fields = [self._ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(raw), 0]
        self._out += b"070701" + b"".join(b"%08X" % f for f in fields) + raw
        self._out += b"\0" * (-len(self._out) % 4)
        self._out += data + b"\0" * (-len(data) % 4)

    def folder(self, name):
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o755):
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def chardev(self, name, major, minor):
        self._entry(name, stat.S_IFCHR | 0o600, b"", (major, minor))

    def bytes(self):
        done = Cpio()
        done._out, done._ino = bytearray(self._out), -1
        done._entry("TRAILER!!!", 0)
        return bytes(done._out)
