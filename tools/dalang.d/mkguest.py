# SPDX-License-Identifier: BSD-2-Clause
"""tools/mkguest: a Debian disk that boots with root=/dev/vda1. mmdebstrap makes the tree, mke2fs the file system
out of it, so no loop device is needed. tools/mkguest.d/debian/ is laid over the tree, debian.sh runs in it."""
import hashlib
import io
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid

from cli import Parser
from util import BUILD, ROOT, TOOL, USAGE, Fail, die_with_parent, say

HERE = os.path.join(ROOT, "tools", "mkguest.d")
SUITE = "bookworm"
MIB = 1 << 20
SECTOR = 512
FIRST = MIB // SECTOR  # of the partition
PACKAGES = ["systemd-sysv", "udev", "kmod", "linux-image-cloud-amd64", "tiny-initramfs", "iproute2", "iputils-ping", "curl",
            "ca-certificates", "openssh-server", "nginx", "fio", "iperf3", "acpid"]
SPARE = 256 * MIB


def _size(text):
    m = re.fullmatch(r"([1-9]\d{0,8})([MG]?)", text)
    if not m:
        raise Fail(USAGE, f"--size: {text} is not a size; write 1024M or 2G, say")
    return int(m[1]) * (1024 if m[2] == "G" else 1) * MIB


def parse(argv):
    p = Parser(prog="tools/mkguest", add_help=False, allow_abbrev=False)
    p.add_argument("what", metavar="debian")
    p.add_argument("out", metavar="OUT.img")
    p.add_argument("--size")
    p.add_argument("--hostname", default="debian")
    p.add_argument("--ssh-key", action="append", default=[])
    p.add_argument("--password", default="")
    p.add_argument("--packages", action="append", default=[])
    p.add_argument("--cache", default=os.path.join(BUILD, "debs", "mkguest"))
    opts = p.parse_args(argv)
    if opts.what != "debian":
        raise Fail(USAGE, f"{opts.what}: no such guest; there is `debian`")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", opts.hostname):
        raise Fail(USAGE, f"--hostname: {opts.hostname} is no host's name; use a to z, 0 to 9 and - inside")
    if "\n" in opts.password:
        raise Fail(USAGE, "--password: it has a line's end in it; leave that out")
    opts.packages = [w for words in opts.packages for w in words.split(",") if w]
    for w in opts.packages:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", w):
            raise Fail(USAGE, f"--packages: {w} is no package's name; write them with commas between")
    opts.size = opts.size and _size(opts.size)
    opts.keys = "".join(_key(f) for f in opts.ssh_key)
    folder = os.path.dirname(os.path.abspath(opts.out))
    if not os.path.isdir(folder):
        raise Fail(USAGE, f"{opts.out}: there is no folder {folder}; make it first")
    if os.path.exists(opts.out) and not os.path.isfile(opts.out):
        raise Fail(USAGE, f"{opts.out} is not a plain file; write an image first, then copy it")
    return opts


def _key(path):
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read()
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or "not text"
        raise Fail(USAGE, f"--ssh-key: cannot read {path}: {why}; name a public key") from e
    for line in text.splitlines():
        if "PRIVATE KEY" in line:
            raise Fail(USAGE, f"--ssh-key: {path} is a private key; name the public one, {path}.pub maybe")
        if line.strip() and not re.match(r"(ssh|ecdsa|sk)-\S+ \S+|#", line):
            raise Fail(USAGE, f"--ssh-key: {path} has a line that is no public key: {line[:40]}; name a file of ssh-keygen's")
    return text.rstrip("\n") + "\n"


def _run(argv, log, **more):
    """The tool's messages go to the log, and their end into ours when it fails."""
    with open(log, "ab") as f:
        try:
            p = subprocess.Popen(argv, stdin=more.pop("stdin", subprocess.DEVNULL), stdout=f, stderr=f,
                                 preexec_fn=die_with_parent, **more)
        except OSError as e:
            raise Fail(TOOL, f"cannot run {argv[0]}: {e.strerror}; tools/setup installs it") from e
        try:
            if p.wait() == 0:
                return
        except BaseException:
            os.killpg(p.pid, signal.SIGTERM)  # what it has started, too; it unmounts what it has mounted
            p.wait()
            raise
    with open(log, encoding="utf-8", errors="replace") as f:
        lines = f.read().splitlines()
    kept = os.path.join(BUILD, "mkguest.log")
    shutil.copyfile(log, kept)
    bad = [s for s in lines if re.match(r"(E|Err|dpkg: error)\b", s) and "mmdebstrap failed" not in s] or lines
    raise Fail(TOOL, f"{argv[0]} failed: {' | '.join(bad[-3:])}; all it said is in {kept}")


def _mirror():
    """(lines for sources.list, the youngest list's date): what this machine's apt has of Debian 12, and nothing else."""
    fields = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)|$(FILENAME)"
    r = subprocess.run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    lines, date = [], 0
    for s in r.stdout.splitlines():
        origin, name, uri, component, path = s.split("|", 4)
        if origin == "Debian" and name in (SUITE, SUITE + "-updates", SUITE + "-security") and component == "main":
            lines.append(f"deb {uri.rstrip('/')} {name} main")
            date = max(date, int(os.path.getmtime(path)))
    if f"{SUITE} main" not in "\n".join(lines):
        raise Fail(TOOL, f"apt has no list of Debian 12 ({SUITE}, main); run as root: apt-get update, and if that does not "
                         "help name a mirror of it in /etc/apt/sources.list")
    return list(dict.fromkeys(lines)), date


def overlay(opts, date):
    """tools/mkguest.d/debian and what the options ask for, as a tar file of root's."""
    files = {"etc/hostname": opts.hostname + "\n",
             "etc/hosts": f"127.0.0.1 localhost {opts.hostname}\n::1 localhost\n"}
    if opts.keys:
        files["root/.ssh/authorized_keys"] = opts.keys
    top = os.path.join(HERE, "debian")
    for folder, _, names in os.walk(top):
        for n in names:
            with open(os.path.join(folder, n), encoding="utf-8") as f:
                files[os.path.relpath(os.path.join(folder, n), top)] = f.read()
    out, made = io.BytesIO(), set()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(files):
            parts = name.split("/")[:-1]
            for d in ("/".join(parts[:i + 1]) for i in range(len(parts))):
                if d not in made:
                    info = tarfile.TarInfo(d)
                    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o700 if d.startswith("root") else 0o755, date
                    tar.addfile(info)
                    made.add(d)
            data = files[name].encode()
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), date
            info.mode = 0o600 if name.startswith("root/") else 0o644
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _tree(opts, work, log, lines, date):
    """The tree of files, none younger than the date."""
    ours, root = os.path.join(work, "overlay.tar"), os.path.join(work, "root")
    with open(ours, "wb") as f:
        f.write(overlay(opts, date))
    os.makedirs(opts.cache, exist_ok=True)
    script = os.path.join(HERE, "debian.sh")
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
            # Born with a merged /usr; else a package would merge it, and bring Perl for that.
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--include=" + ",".join(PACKAGES + opts.packages),
            "--dpkgopt=force-unsafe-io", "--dpkgopt=force-confold", "--aptopt=APT::Sandbox::User \"root\"",
            "--dpkgopt=" + os.path.join(HERE, "debian/etc/dpkg/dpkg.cfg.d/small"), "--skip=essential/unlink,download/empty",
            "--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives",
            "--setup-hook=cp -l \"$CACHE\"/*.deb \"$1\"/var/cache/apt/archives/ 2>/dev/null || "
            "cp \"$CACHE\"/*.deb \"$1\"/var/cache/apt/archives/ 2>/dev/null || :",
            # Before the packages: the kernel's script makes the initramfs, and no package's file takes the place of ours.
            f"--essential-hook=tar-in '{ours}' /",
            "--customize-hook=chroot \"$1\" /bin/sh -eu -s <\"$SCRIPT\"",
            "--customize-hook=cp -lf \"$1\"/var/cache/apt/archives/*.deb \"$CACHE\"/ 2>/dev/null || "
            "cp -f \"$1\"/var/cache/apt/archives/*.deb \"$CACHE\"/", SUITE, root, "-"]
    with tempfile.TemporaryFile() as sources:
        sources.write("\n".join(lines).encode() + b"\n")
        sources.seek(0)
        _run(argv, log, stdin=sources,
             env={**os.environ, "LC_ALL": "C.UTF-8", "TMPDIR": work, "PASSWORD": opts.password, "CACHE": opts.cache,
                  "SCRIPT": script, "SOURCE_DATE_EPOCH": str(date)})
    shutil.rmtree(os.path.join(root, "dev"))  # the kernel makes what is in there
    os.mkdir(os.path.join(root, "dev"))
    for folder, folders, names in os.walk(root, topdown=False):
        for path in (*(os.path.join(folder, n) for n in folders + names), folder):
            if os.lstat(path).st_mtime > date:
                os.utime(path, (date, date), follow_symlinks=False)
    return root


def _forget_old_packages(cache, root):
    r = subprocess.run(["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f",
                        "${Package}_${Version}_${Architecture}.deb\n"],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    used = set(r.stdout.replace(":", "%3a").split())
    for name in os.listdir(cache):
        if name.endswith(".deb") and name not in used:
            os.unlink(os.path.join(cache, name))


def _used(root):
    total = 0
    for folder, folders, names in os.walk(root):
        for n in folders + names:
            total += 4096 + -(-os.lstat(os.path.join(folder, n)).st_size // 4096) * 4096
    return total


def _disk(opts, work, log, root, date):
    """One primary partition, ext4. UUIDs follow from what is in it, so equal builds are equal files."""
    used = _used(root)
    need = used + used // 8 + 48 * MIB  # inodes, journal
    size = opts.size or -(-(used + SPARE) // (64 * MIB)) * 64 * MIB
    if size < need:
        raise Fail(USAGE, f"--size: {size // MIB} MiB do not hold it, which needs {need // MIB}; give more, or fewer "
                          "--packages")
    img = os.path.join(work, "disk.img")
    name = uuid.uuid5(uuid.NAMESPACE_DNS, f"{inputs(opts)} {date}")
    with open(img, "wb") as f:
        f.truncate(size)
        f.seek(440)
        entry = struct.pack("<B3sB3sII", 0x80, b"\xff" * 3, 0x83, b"\xff" * 3, FIRST, size // SECTOR - FIRST)
        f.write(name.bytes[:4] + bytes(2) + entry + bytes(48) + b"\x55\xaa")
    # Tables written now are not written by the guest's kernel behind its first boots.
    _run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", root, "-L", "root", "-U", str(name), "-E",
          f"offset={FIRST * SECTOR},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,hash_seed={name}", img,
          f"{(size - FIRST * SECTOR) // 1024}k"], log, env={**os.environ, "E2FSPROGS_FAKE_TIME": str(date)})
    _run(["fallocate", "--dig-holes", img], log)
    return img, used


def inputs(opts):
    """What an image depends on beside the mirror: a test keeps it by this."""
    h = hashlib.sha256(repr((PACKAGES + opts.packages, opts.hostname, opts.keys, opts.password, opts.size)).encode())
    for folder, folders, names in os.walk(HERE):
        folders.sort()
        for n in sorted(names):
            path = os.path.join(folder, n)
            with open(path, "rb") as f:
                h.update(os.path.relpath(path, HERE).encode() + b"\0" + f.read() + b"\0")
    with open(__file__, "rb") as f:
        h.update(f.read())
    return h.hexdigest()[:16]


def _one(root, pattern):
    found = sorted(n for n in os.listdir(os.path.join(root, "boot")) if n.startswith(pattern))
    if len(found) != 1:
        raise Fail(TOOL, f"the new system has {len(found)} files /boot/{pattern}*, not one; leave kernels out of "
                         "--packages")
    return os.path.join(root, "boot", found[0])


def _stop(signum, _frame):
    raise SystemExit(128 + signum)


def _place(src, to):
    """Whole or not at all: beside its name first."""
    part = f"{to}.part{os.getpid()}"
    try:
        _run(["cp", "--sparse=always", src, part], part + ".log")
        os.chmod(part, 0o644)
        os.replace(part, to)
    finally:
        for p in (part, part + ".log"):
            if os.path.exists(p):
                os.unlink(p)


def main(argv):
    opts = parse(argv)
    if os.geteuid():
        raise Fail(TOOL, "installing packages into a new tree needs root; run it by sudo")
    for s in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, _stop)
    os.makedirs(BUILD, exist_ok=True)
    lines, date = _mirror()
    date = int(os.environ.get("SOURCE_DATE_EPOCH") or date)
    start = time.monotonic()
    work = tempfile.mkdtemp(prefix="mkguest-", dir=BUILD)
    log = os.path.join(work, "log")
    try:
        say(f"installing Debian 12 from {lines[0].split()[1]}: minutes, and 110 MiB to download unless they are in "
            f"{opts.cache}")
        root = _tree(opts, work, log, lines, date)
        _forget_old_packages(opts.cache, root)
        img, used = _disk(opts, work, log, root, date)
        stem = os.path.splitext(opts.out)[0] if opts.out.endswith(".img") else opts.out
        for src, to in ((_one(root, "vmlinuz-"), stem + ".vmlinuz"), (_one(root, "initrd.img-"), stem + ".initrd"),
                        (img, opts.out)):
            _place(src, to)
        size = os.path.getsize(opts.out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"{opts.out}: {size // MIB} MiB, {used // MIB} of them used, after {time.monotonic() - start:.0f} s")
    say(f"kernel = {stem}.vmlinuz, ramdisk = {stem}.initrd, memory = 256, "
        'cmdline = "root=/dev/vda1 rw console=ttyS0 quiet"')
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Fail as e:
        say(str(e))
        sys.exit(e.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as e:
        say(f"{e.filename or 'system'}: {e.strerror}")
        sys.exit(TOOL)
