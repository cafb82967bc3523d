# SPDX-License-Identifier: BSD-2-Clause
"""Tests of the build machine's own: unit tests, checks, the tool, the bounds."""
import os
import sys

from harness import ROOT, Case


def tool(ctx):
    for name in ("test_framing.py", "test_disks.py", "test_mkguest.py"):
        ctx.command(sys.executable, os.path.join(ROOT, "tests", "system", name))


def make(*words):
    return lambda ctx: ctx.command("make", "-s", *words)


def bench(ctx):
    """The bounds of docs/performance.md hold."""
    ctx.command(os.path.join(ROOT, "tools", "dalang"), "bench")


# Each of these targets runs a million times (Makefile: FUZZ_CI).
FUZZ_CI = ("virtq", "virtio_balloon", "virtio_blk", "virtio_console", "virtio_net", "virtio_rng", "virtio_scsi", "virtio_vsock")

CASES = [
    Case("unit", make("unit"), seconds=60, memory=1000, timeout=600),
    Case("fuzz-replay", make("fuzz-replay"), seconds=40, memory=1000, timeout=600),
    *(Case(f"fuzz-ci-{t}", make(f"fuzz-ci-{t}"), seconds=30, memory=500, timeout=600) for t in FUZZ_CI),
    Case("check-virtio-coverage", make("check-virtio-coverage"), seconds=20, memory=500, timeout=600),
    Case("check-layers", make("check-layers"), seconds=3, memory=100),
    Case("check-lines", make("check-lines"), seconds=3, memory=100),
    Case("tool", tool, seconds=5, memory=100),
    Case("bench", bench, seconds=135, timeout=500),
    # The other compiler, without a warning, in a folder of its own.
    Case("build-clang", make("B=build/clang", "CC=clang", "build/clang/dalang.elf", "build/clang/BOOTX64.EFI"),
         seconds=30, memory=500, timeout=600),
]
