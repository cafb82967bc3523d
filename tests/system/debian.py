# SPDX-License-Identifier: BSD-2-Clause
"""The server guest's disk; and fio and iperf3 for guests that have none: with an initramfs they start in seconds. Libraries of
theirs that are larger than all the rest, for storage over networks and encryption, are empty shells there: nothing calls them."""
import fcntl
import glob
import os
import re
import shutil
import subprocess

import mkguest
from harness import ROOT, Skip
from kernels import FETCHING
from util import GUEST_DIR

OPTIONS = ["--hostname", "server", "--size", "608M"]
LIB = "usr/lib/x86_64-linux-gnu"
PROGRAMS = ("fio", "iperf3")
REAL = ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libz.so.1", "libaio.so.1", "libnuma.so.1", "libiperf.so.0")


def image(ctx):
    """The image's name without its end, in build/guest. Built by whoever comes first, kept until its inputs change."""
    stem = os.path.join(GUEST_DIR, "server-" + mkguest.inputs(mkguest.parse(["debian", "/x", *OPTIONS])))
    with open(os.path.join(GUEST_DIR, ".server-lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(stem + ".img"):
            if os.geteuid():
                raise Skip("tools/mkguest needs root")
            for old in glob.glob(os.path.join(GUEST_DIR, "server-*")):
                os.unlink(old)
            ctx.command(os.path.join(ROOT, "tools", "mkguest"), "debian", stem + ".img", *OPTIONS)
    return stem


def programs():
    """{name in the guest: file here} for guests.module_initramfs()."""
    taken, folder = os.path.join(GUEST_DIR, "programs"), os.path.join(GUEST_DIR, "programs-whole")
    with FETCHING:
        if not os.path.exists(taken):
            r = subprocess.run([os.path.join(ROOT, "tools", "setup"), "programs"], capture_output=True, text=True, check=False)
            if r.returncode:
                raise Skip(f"cannot fetch fio and iperf3: {r.stderr.strip().splitlines()[-1:]}")
        if not os.path.exists(folder) or os.path.getmtime(folder) < max(os.path.getmtime(taken), os.path.getmtime(__file__)):
            part = folder + ".part"
            for old in (folder, part):
                shutil.rmtree(old, ignore_errors=True)
            shutil.copytree(taken, part)
            os.utime(part)
            _shells(part)
            os.rename(part, folder)
    where = {**{n: "bin" for n in PROGRAMS}, REAL[0]: "lib64"}
    return {f"{where.get(n, LIB)}/{n}": os.path.join(folder, n) for n in sorted(os.listdir(folder))}


def _said(*argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


def _shells(folder):
    """Each library that is missing: one that has the names that are asked of any of them, in their versions. Who calls one ends."""
    wanted, given, missing = {}, set(), set()
    for name in PROGRAMS + REAL:
        path = os.path.join(folder, name)
        for line in _said("readelf", "-W", "--dyn-syms", path).splitlines():
            m = re.search(r" (\w+) +DEFAULT +(\w+) ([^\s@]+)(?:@+(\S+))?", line)
            if m and m[2] != "UND":
                given.add(m[3])
            elif m and m[1] != "WEAK":
                wanted[m[3]] = m[4] or "ANY"
        missing |= {n for n in re.findall(r"\(NEEDED\).*\[(.*)\]", _said("readelf", "-d", path)) if n not in REAL}
    names = sorted(set(wanted) - given)
    versions, shell = os.path.join(folder, "versions"), os.path.join(folder, "shell")
    with open(versions, "w", encoding="ascii") as f:
        for v in sorted({wanted[n] for n in names}):
            f.write(f"{v} {{ global: {'; '.join(n for n in names if wanted[n] == v)}; }};\n")
    subprocess.run(["gcc", "-shared", "-nostdlib", "-Os", "-w", "-x", "c", "-", f"-Wl,--version-script={versions}", "-s", "-o", shell],
                   input="".join(f"void {n}(void) {{ __builtin_trap(); }}\n" for n in names), text=True, check=True)
    os.unlink(versions)
    for name in missing:
        shutil.copyfile(shell, os.path.join(folder, name))
    os.unlink(shell)
