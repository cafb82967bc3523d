# SPDX-License-Identifier: BSD-2-Clause
"""`bench --where`: in which functions a request's instructions are, by a plugin of QEMU's
(tools/icount.c)."""
import bisect
import collections
import os
import subprocess

import bench
from util import BUILD, ROOT, TOOL, USAGE, Fail

FEW, MANY = 1024, 3072
GUESTS = {"vbench": bench._vbench, "vnet": bench._vnet}
# The first that fits counts; of source files, as the linker's symbols have them.
GROUPS = (("the guests' drivers", ("tests/guests/",)),
          ("copies", ("lib/string.c",)),
          ("windows onto guests' memory", ("vmm/gmem.c", "arch/x86_64/window.c")),
          ("the switch", ("drivers/net/",)),
          ("the device", ("drivers/",)),
          ("code at RIP, for lengths", ("vmm/fetch.c", "vmm/gwalk.c", "lib/insn")),
          ("interrupts", ("vmm/platform/", "vmm/irq.c", "vmm/inject.c", "vmm/msr.c")),
          ("switch between VMs", ("vmm/sched", "vmm/timer", "arch/x86_64/fpu", "vmm/pv.c")),
          ("exits and entries", ("",)))


def _plugin():
    out = os.path.join(BUILD, "icount.so")
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
                    "-fvisibility=hidden", os.path.join(ROOT, "tools", "icount.c"), "-o", out],
                   check=True)
    return out


def _symbols(path):
    """[(address, name, source file)], in order."""
    rows = []
    out = subprocess.run(["nm", "-nl", path], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        words = line.replace("\t", " ").split(" ", 3)
        if len(words) >= 3 and words[1] in "tTwW":
            source = words[3].rsplit(":", 1)[0] if len(words) > 3 else ""
            source = os.path.relpath(source, ROOT) if source else ""
            rows.append((int(words[0], 16), words[2], source))
    return rows


def _counts(guest, words, n):
    out = os.path.join(bench.OUT, "icount")
    os.environ["ICOUNT_OUT"] = out
    GUESTS[guest](words, n)
    with open(out, encoding="ascii") as f:
        return {int(at, 16): int(count) for at, count in (line.split() for line in f)}


def _group(source):
    return next(name for name, heads in GROUPS if source.startswith(heads))


def where(words):
    """By what MANY requests take beyond FEW: "vnet single len=64" or "vbench qd32"."""
    guest, _, row = words.partition(" ")
    if guest not in GUESTS or not row:
        raise Fail(USAGE, "bench --where wants the name and words of a guest: "
                          "'vnet single len=64', 'vbench qd32'")
    os.makedirs(bench.OUT, exist_ok=True)
    os.environ["DALANG_TEST_OPTIONS"] = f"-plugin {_plugin()}"
    few, many = (_counts(guest, row, n) for n in (FEW, MANY))
    hypervisor = _symbols(os.path.join(BUILD, "dalang.elf"))
    program = [(at, f"{name} (guest)", "tests/guests/") for at, name, _ in
               _symbols(os.path.join(BUILD, "tests", "guests", f"{guest}.elf"))]
    functions, groups = collections.Counter(), collections.Counter()
    for at, count in many.items():
        table = hypervisor if at >> 63 else program
        i = bisect.bisect(table, (at, "\x7f", "")) - 1
        _, name, source = table[i] if i >= 0 else (0, hex(at), "")
        functions[name] += count - few.get(at, 0)
        groups[_group(source)] += count - few.get(at, 0)
    for title, table in (("group", groups), ("function", functions)):
        print(f"| {title} | instructions |\n|---|---:|")
        for name, count in table.most_common():
            if round(count / (MANY - FEW)):
                print(f"| {name} | {count / (MANY - FEW):.0f} |")
        print(f"| all | {sum(table.values()) / (MANY - FEW):.0f} |\n")
    if not sum(functions.values()):
        raise Fail(TOOL, "the plugin has counted nothing")
    return 0
