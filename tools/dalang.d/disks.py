# SPDX-License-Identifier: BSD-2-Clause
"""Disks and NICs of `run`: what `--disk`, `--host-disk` and `--nic` mean, images turned into raw ones, QEMU's options."""
import hashlib
import json
import os
import re
import struct
import subprocess

from util import BUILD, TOOL, USAGE, Fail, say

# What becomes a raw image, by qemu-img; and names that say so. A guest can write any image's header into its raw disk, so
# content alone decides nothing: it and the name, or format=, must agree.
CONVERTED = {"qcow2": (".qcow2",), "vmdk": (".vmdk",)}
FORMATS = ("raw", *CONVERTED)
FOR_THE_VM = ("serial", "sector", "iops", "bps")  # they go into the VM's file as they are


class Disk:
    """One option. prefix: "ram:", "cow:ram:", "host:", "cow:host:"; words: for the VM's file; format: as told, or None."""

    def __init__(self, option, text):
        self.option, self.words, self.format, self.readonly, self.cdrom = option, [], None, False, False
        self.prefix, path = re.match(r"((?:cow:)?(?:ram:|host:)?)(.*)", text, re.S).groups()
        while not os.path.exists(path) and "," in path:
            path, _, word = path.rpartition(",")
            self._word(text, word)
        if not path:
            raise Fail(USAGE, f"{option}: {text} names no file; write {self.prefix}FILE")
        self.path = path

    def _word(self, text, word):
        key, _, value = word.partition("=")
        if word in ("ro", "rw"):
            self.readonly = word == "ro"
        elif word in ("cdrom", "devtype=cdrom"):
            self.cdrom = self.readonly = True
        elif key == "format" and value in FORMATS:
            self.format = value
        elif key in FOR_THE_VM and value:
            self.words.insert(0, word)
        else:
            raise Fail(USAGE, f"{self.option}: {text}: no such file, and {word or 'nothing'} is no option of a disk; "
                              f"there are ro, rw, cdrom, format={'|'.join(FORMATS)}, " + "=, ".join(FOR_THE_VM) + "=")

    @property
    def on_host(self):
        return "host:" in self.prefix


def parse(option, text, default):
    """default: "ram:" or "host:", what a file without either of them is."""
    d = Disk(option, text)
    if d.prefix == "":
        d.prefix = default
    elif d.prefix == "cow:":
        d.prefix = "cow:ram:"
    return d


# ---- images of other formats ----

def _no(disk, what, mend):
    raise Fail(USAGE, f"{disk.option}: {disk.path} {what}; {mend}")


def _check_qcow2(disk, f):
    """QEMU's docs/interop/qcow2.txt. Whatever makes it more than this one file is refused before qemu-img follows it."""
    version, backing, features = struct.unpack(">4xIQ56xQ", f.read(80).ljust(80, b"\0"))
    if backing:
        _no(disk, "has a backing file", "make one file of the two first: qemu-img convert -O qcow2 OLD NEW")
    if version >= 3 and features & 4:
        _no(disk, "has its data in another file", "make one file of the two first: qemu-img convert -O qcow2 OLD NEW")


def _check_vmdk(disk, f):
    """VMware's Virtual Disk Format 5.0, SparseExtentHeader. A descriptor may name any file: only one that lies inside and
    names nothing but its own file is taken."""
    header = f.read(64)
    if len(header) < 64:
        _no(disk, "ends in its header", "name a whole image")
    if not struct.unpack_from("<Q", header, 12)[0]:  # the capacity, which then only a descriptor tells
        _no(disk, "is not one sparse file", "make it so: qemu-img convert -O vmdk OLD NEW")
    at, size = struct.unpack_from("<QQ", header, 28)
    f.seek(at * 512)
    text = f.read(min(size * 512, 1 << 20)).split(b"\0")[0].decode("utf-8", "replace")
    if re.search(r"(?im)^\s*parentCID\s*=\s*(?!f{8}\b)|^\s*parentFileNameHint", text):
        _no(disk, "is the child of another image", "make one file of the two first: qemu-img convert -O vmdk OLD NEW")
    if len(re.findall(r"(?m)^\s*(?:RW|RDONLY|NOACCESS)\s", text)) > 1:
        _no(disk, "has its data in several files", "make it one: qemu-img convert -O vmdk OLD NEW")


MAGICS = {b"QFI\xfb": ("qcow2", _check_qcow2), b"KDMV": ("vmdk", _check_vmdk)}
OTHERS = {b"COWD": "an old VMware image", b"# Di": "a VMware descriptor", b"vhdx": "a VHDX image", b"cone": "a VHD image",
          b"QED\0": "a QED image", b"<<< ": "a VirtualBox image", b"With": "a Parallels image"}


def image_format(disk):
    """raw, qcow2 or vmdk; Fail when name and content disagree, or when the image is more than this one file."""
    name = next((f for f, ends in CONVERTED.items() if disk.path.lower().endswith(ends)), None)
    with open(disk.path, "rb") as f:
        magic = f.read(4)
        found, check = MAGICS.get(magic, (None, None))
        f.seek(0)
        if disk.format == "raw":
            return "raw"
        want = disk.format or name
        if want is None and found is None:
            what = next((w for m, w in OTHERS.items() if magic == m), None)
            if what:
                _no(disk, f"looks like {what}",
                    "make it raw: qemu-img convert -O raw OLD NEW; or write ,format=raw if it is a raw disk")
            return "raw"
        if want is None:
            _no(disk, f"looks like {found}, its name does not",
                f"write ,format={found}, or ,format=raw if it is a raw disk of a guest's")
        if want != found:
            _no(disk, f"is to be {want}, but looks like {found or 'a raw disk'}", f"write ,format={found or 'raw'} if it is")
        check(disk, f)
    return found


def _qemu_img(disk, *words):
    argv = ["qemu-img", *words]
    try:
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as e:
        raise Fail(TOOL, f"cannot run qemu-img: {e.strerror}; tools/setup installs it") from e
    if r.returncode:
        said = r.stderr.strip().splitlines() or [f"status {r.returncode}"]
        _no(disk, f"is refused by qemu-img {words[0]}: {said[-1]}", "name a sound image")
    return r.stdout


def raw_file(disk):
    """The path of a raw image: the file itself, or its copy in build/images, made anew only when the file has changed."""
    if not os.path.isfile(disk.path):
        _no(disk, "is not a plain file" if os.path.exists(disk.path) else "does not exist", "name a disk image")
    if not os.access(disk.path, os.R_OK):
        _no(disk, "cannot be read", "check its rights")
    if disk.on_host and not disk.readonly and not os.access(disk.path, os.W_OK):
        _no(disk, "cannot be written", "check its rights, or write ,ro")
    if not os.path.getsize(disk.path):
        _no(disk, "is empty", "a disk image needs at least one sector")
    path = os.path.abspath(disk.path)
    kind = image_format(disk)
    if kind == "raw":
        return path
    info = json.loads(_qemu_img(disk, "info", "--output=json", "-f", kind, path))
    if info.get("backing-filename") or info.get("format") != kind or info.get("encrypted"):
        _no(disk, "has a backing file or a key, qemu-img says", "make one plain file of it: qemu-img convert")
    folder = os.path.join(BUILD, "images")
    os.makedirs(folder, exist_ok=True)
    s = os.stat(path)
    stem = f"{re.sub(r'[^A-Za-z0-9._-]', '_', os.path.basename(path))}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    made, mark = os.path.join(folder, stem + ".raw"), f"{s.st_mtime_ns} {s.st_size}"
    try:
        with open(made + ".of", encoding="ascii") as f:
            if f.read() == mark and os.path.getsize(made) == info["virtual-size"]:
                return made
    except OSError:
        pass
    say(f"{disk.path}: {kind}, {info['virtual-size'] >> 20} MiB; guests get a raw copy, {made}, and write to that")
    part = f"{made}.part{os.getpid()}"
    try:
        _qemu_img(disk, "convert", "-f", kind, "-O", "raw", path, part)
        os.replace(part, made)
    finally:
        if os.path.exists(part):
            os.unlink(part)
    with open(made + ".of", "w", encoding="ascii") as f:
        f.write(mark)
    return made


# ---- what goes into the VM's file, and to QEMU ----

class HostDisks:
    """The machine's own disks: virtio-blk, by serial numbers disk0, disk1... in the order of the options."""

    def __init__(self):
        self._disks = []

    def add(self, disk):
        path = raw_file(disk)
        if any(os.path.samefile(path, p) for p, _ in self._disks):
            _no(disk, "is a disk of the machine's already", "name each file once")
        self._disks.append((path, disk.readonly))
        return f"disk{len(self._disks) - 1}"

    def argv(self):
        out = []
        for i, (path, readonly) in enumerate(self._disks):
            out += ["-drive", f"if=none,id=disk{i},format=raw,discard=unmap,readonly={'on' if readonly else 'off'},"
                              f"file={path.replace(',', ',,')}",
                    "-device", f"virtio-blk-pci,drive=disk{i},serial=disk{i}"]
        return out


def vm_spec(disk, number, host):
    """The string for the VM file's `disk = [...]`."""
    where = disk.prefix + (host.add(disk) if disk.on_host else raw_file(disk))
    words = ["format=raw", f"vdev={'hd' if disk.cdrom else 'xvd'}{chr(97 + number)}",
             "devtype=cdrom" if disk.cdrom else f"access={'ro' if disk.readonly else 'rw'}", *disk.words]
    return ",".join(words) + f",target={where}"


def nic_argv(texts):
    """--nic user[,...] or tap[,...]: QEMU's -netdev options, and mac= for the card itself."""
    out = []
    for i, text in enumerate(texts):
        kind, *words = text.split(",")
        if kind not in ("user", "tap"):
            raise Fail(USAGE, f"--nic: {kind or 'nothing'} is no kind of network; write user[,hostfwd=tcp::PORT-:80] or "
                              "tap,ifname=NAME")
        if any(w.partition("=")[0] in ("id", "type") for w in words):
            raise Fail(USAGE, f"--nic: {text}: id= and type= are not yours to give; leave them out")
        mac = next((w[4:] for w in words if w.startswith("mac=")), f"52:54:00:da:1a:{i:02x}")
        if not re.fullmatch(r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}", mac):
            raise Fail(USAGE, f"--nic: mac={mac} is no card's address; write 52:54:00:da:1a:01, say")
        words = [w for w in words if not w.startswith("mac=")]
        if kind == "tap" and not any(w.startswith("script=") for w in words):
            words += ["script=no", "downscript=no"]
        # Without its ROM firmware does not try to boot from the network.
        out += ["-netdev", ",".join([kind, f"id=nic{i}", *words]),
                "-device", f"virtio-net-pci,netdev=nic{i},mac={mac},romfile="]
    return out
