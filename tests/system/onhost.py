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


CASES = [
    Case("unit", make("unit"), seconds=60, memory=1000, timeout=600),
    Case("fuzz-replay", make("fuzz-replay"), seconds=40, memory=1000, timeout=600),
    Case("check-layers", make("check-layers"), seconds=3, memory=100),
    Case("check-lines", make("check-lines"), seconds=3, memory=100),
    Case("tool", tool, seconds=5, memory=100),
    Case("bench", bench, seconds=110, timeout=400),
    # The other compiler, without a warning, in a folder of its own.
    Case("build-clang", make("B=build/clang", "CC=clang", "build/clang/dalang.elf", "build/clang/BOOTX64.EFI"),
         seconds=30, memory=500, timeout=600),
]
