# SPDX-License-Identifier: BSD-2-Clause
"""`image`: a disk image for a USB stick, a GPT with one EFI system partition, which UEFI machines boot."""
import os
import shutil
import struct
import tempfile
import uuid
import zlib

import image
from cli import Parser
from util import BUILD, USAGE, Fail, say
from vmfiles import Pack

SECTOR = 512
FIRST = 2048  # of the partition: 1 MiB, where any stick's erase blocks begin
ENTRIES, ENTRY = 128, 128
TABLE = ENTRIES * ENTRY // SECTOR
ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")


def _header(here, other, table, last, disk, entries):
    """UEFI 2.10, table 5.5. The checksum is taken with its own field zero."""
    def pack(crc):
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, here, other, 2 + TABLE,
                           last - TABLE - 1, disk.bytes_le, table, ENTRIES, ENTRY, zlib.crc32(entries))
    return pack(zlib.crc32(pack(0))).ljust(SECTOR, b"\0")


def gpt(volume, out):
    """Put the volume into a disk of just its size."""
    sectors = os.path.getsize(volume) // SECTOR
    last = FIRST + sectors + 2048 - 1
    disk = uuid.uuid4()
    entries = struct.pack("<16s16sQQQ72s", ESP.bytes_le, uuid.uuid4().bytes_le, FIRST, FIRST + sectors - 1, 0,
                          "Dalang".encode("utf-16-le")).ljust(ENTRIES * ENTRY, b"\0")
    mbr = bytes(446) + struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1,
                                   min(last, 0xFFFFFFFF)) + bytes(48) + b"\x55\xaa"
    with open(volume, "rb") as src, open(out, "wb") as f:
        f.write(mbr + _header(1, last, 2, last, disk, entries) + entries)
        f.seek(FIRST * SECTOR)
        shutil.copyfileobj(src, f, 1 << 20)
        f.seek((last - TABLE) * SECTOR)
        f.write(entries + _header(last, 1, last - TABLE, last, disk, entries))


def make(argv):
    p = Parser(prog="tools/dalang image", add_help=False, allow_abbrev=False)
    p.add_argument("out", metavar="OUT.img")
    p.add_argument("--vm", action="append", default=[], metavar="FILE.cfg")
    p.add_argument("--file", action="append", default=[])
    opts = p.parse_args(argv)
    if os.path.exists(opts.out) and not os.path.isfile(opts.out):
        raise Fail(USAGE, f"{opts.out} is not a plain file; write an image first, then copy it to the stick")
    pack = Pack()
    for path in opts.vm:
        pack.add_vm(path)
    pack.add_files(opts.file)
    if len(pack.running()) < len(opts.vm):
        raise Fail(USAGE, "no image was written")
    # Without a VM the host stays, so that its messages can be read.
    files = pack.finish()
    if not opts.vm:
        files["dalang.cfg"] = b'# VM files beside this one: vms = [ "FILE.cfg" ]\nvms = [ ]\n'
    os.makedirs(BUILD, exist_ok=True)
    work = tempfile.mkdtemp(prefix="image-", dir=BUILD)
    try:
        gpt(image.esp(work, files, hidden=FIRST), opts.out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"{opts.out}: {os.path.getsize(opts.out) >> 20} MiB, {len(opts.vm)} VM(s); README.md, \"On a real "
        "machine\", says how to write it to a stick")
    return 0
