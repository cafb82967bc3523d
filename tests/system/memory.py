# SPDX-License-Identifier: BSD-2-Clause
"""Guests' memory: none of a dead VM's is left in the next one's; a VM that does not fit is refused and leaves nothing
behind; leaves of 1 GiB."""
import re

from boots import BACKEND
from control import ask
from harness import Case, check, check_backend, check_status
from lifecycle import Host

MIB = 300  # each, of a host's 512: of what one had the next one gets most


def recycled(cpu, boot):
    """Each VM looks through all its RAM, fills it, and dies: destroyed, killed, by its power button's end."""
    def test(ctx):
        host = Host(ctx)
        words = (("a", "scan fill hlt"), ("b", "scan fill kill"), ("c", "scan fill poweroff"), ("d", "scan hlt"))
        files = [ctx.vm_file("keeper", "hlt", memory=16)] + [ctx.vm_file(n, w, memory=MIB) for n, w in words]
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", "1", "--host-memory", "512", "--control", host.path,
                    *[x for f in files for x in ("--vm", f)])
        check_backend(p, BACKEND[cpu], 1)
        full = rb"%s: memory = %d MiB, but the host has (\d+) MiB left for guests; lower it or end another VM"
        for n in (b"b", b"c", b"d"):
            m = p.expect(b"refused: " + full % (n, MIB), "err")
            check(0 < int(m.group(1)) < MIB, f"{m.group(1)} MiB are left, and {MIB} do not fit?")
        p.expect(rb"a: TINY: filled")
        p.expect(rb"keeper: TINY: ready")
        mem = host.settled()
        pool = next(int(s.split()[1]) for s in mem if s.startswith("guests'"))
        check(pool < 2 * MIB << 10, f"with a pool of {pool} KiB the next VM may get other memory")
        for n in ("b", "c", "d"):
            _, wrong = ask(host.path, f"create {n}")
            check(wrong and re.search(full.decode() % (n, MIB), wrong), f"create {n} on a full host: {wrong}")
            check(host.do("mem") == mem, f"a refused create of {n} changed mem: {host.do('mem')}, not {mem}")
        host.do("destroy a")
        for before, n in zip("abc", "bcd"):
            host.until(f"the end of {before}", lambda: before not in host.states())
            # It leaves the list before its memory is given back.
            host.until(f"room for {n}", lambda: ask(host.path, f"create {n}")[1] is None)
            m = p.expect(rb"%s: TINY: scan of.*?not zero: (\d+), first at (\w+)" % n.encode())
            check(m.group(1) == b"0", f"{n} finds {m.group(1).decode()} words that are not zero, at 0x{m.group(2).decode()}")
            if n != "d":
                p.expect(rb"%s: TINY: filled" % n.encode())
        host.do("destroy d")
        host.do("destroy keeper")
        check_status(p, 70)  # b was killed
        check(b"VM b: ended, killed" in p.err and b"VM c: ended, poweroff" in p.err, "b or c died in another way")
        scans = re.findall(rb"TINY: scan of (\d+) MiB, words not zero: (\d+)", p.out)
        check(scans == [(b"%d" % (MIB - 1), b"0")] * 4, f"what the VMs found in their RAM: {scans}")
    return test


def leaves(cpu, boot, mib, torture=0):
    """RAM of whole aligned GiB is shown in leaves of 1 GiB; torture splits them and makes them whole."""
    def test(ctx):
        host = Host(ctx)
        more = {"torture": torture} if torture else {}
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", "1", "--host-memory", str(2 * mib), "--control", host.path, "--vm",
                    ctx.vm_file("v", f"memtest {'ticks=3000 memtest ' if torture else ''}hlt", memory=mib, **more))
        check_backend(p, BACKEND[cpu], 1)
        p.expect(rb"TINY: memtest ok.*TINY: memtest ok" if torture else rb"TINY: memtest ok")
        row = next(s for s in host.do("mem") if s.startswith("v ")).split()
        if not torture:
            check(row[7:9] == [str(mib // 1024 - 1), "511"], f"mem says of v: {row}")
        host.do("destroy v")
        check_status(p, 0)
        if torture:
            m = re.search(rb"\((\d+) and (\d+) of 1 GiB\)", p.err)
            check(m and int(m.group(1)) > 0 and int(m.group(2)) > 0, "no leaf of 1 GiB was split and made whole")
    return test


CASES = [
    Case("leaves-1g", leaves("amd", "direct", 2048), seconds=15, memory=2600, timeout=200),
    Case("torture-leaves-1g", leaves("amd", "direct", 2048, torture=3), seconds=25, memory=2600, timeout=300),
    Case("memory-recycled-amd", recycled("amd", "direct"), seconds=15, timeout=200),
    Case("memory-recycled-intel", recycled("intel", "grub"), seconds=60, timeout=600),
]
