# SPDX-License-Identifier: BSD-2-Clause
"""`bench`: what exits, boots and requests cost, in instructions (AMD, --boot direct --icount: a
tick is one instruction, and two runs print the same), against the bounds that docs/performance.md
promises."""
import json
import os
import re
import subprocess
import time

import bare
import bench_linux
import guests
from control import ask
from util import BUILD, ROOT, SHARED, TOOL, USAGE, Fail, guest_file, say

OUT = os.path.join(BUILD, "bench")
DOC = os.path.join(ROOT, "docs", "performance.md")
BOOT_BOUND = 40_000_000
EXIT_BOUNDS = {"cpuid0": 400, "in-pic-0x21": 600, "inl-unassigned-0x1234": 450,
               "rdmsr-apicbase": 400, "xapic-read-id": 800, "xapic-write-eoi": 800,
               "xapic-write-tmict": 1200, "xapic-self-ipi": 2500, "ipi-then-sti-hlt": 3500,
               "timer-hlt-lateness": 2500, "x2apic-write-eoi": 400, "x2apic-self-ipi": 1500}
# KiB of our own memory, nested tables aside: the host's of 2 CPUs and 4 GiB, a VM's, a vCPU's.
OWN_BOUNDS = {"host": 8192, "VM": 96, "vCPU": 24}
BOOT_LINE = re.compile(rb"boot: (\d+) ticks from entry to the first guest instruction")
BENCH_LINE = re.compile(rb"^BENCH (\S+)\s+min=\s*(\d+) med=\s*(\d+) avg=\s*(\d+) "
                        rb"p99=\s*(\d+) n=(\d+)(?: FAULT#(\d+))?", re.M)


def _guest(name):
    return os.path.join(BUILD, "tests", "guests", name)


def _end(text):
    return text[-500:].decode("utf-8", "replace").strip()


def _run(options, want, timeout):
    """(stdout, stderr) of a guest in the measuring machine, ended as soon as stderr has `want`."""
    argv = [os.path.join(ROOT, "tools", "dalang"), "run", "--cpu", "amd", "--boot", "direct",
            "--icount", "--host-cpus", "1", "--timeout", str(timeout), *options]
    out = os.path.join(OUT, "guest.out")
    err = b""
    with open(out, "wb") as f:
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.PIPE,
                             env={**os.environ, "DALANG_BUILT": "1"})
        for line in p.stderr:
            err += line
            if want and want.search(line):
                p.terminate()
                break
        p.stderr.close()
        p.wait()
    with open(out, "rb") as f:
        return f.read(), err


def _boot_row(name, options):
    _, err = _run(options, BOOT_LINE, 120)
    m = BOOT_LINE.search(err)
    if not m:
        raise Fail(TOOL, f"{name}: no boot time on the host's log; it ends: {_end(err)}")
    return {"name": name, "value": int(m.group(1)), "bound": BOOT_BOUND}


def _linux_rows():
    """The cloud kernel from its 64-bit entry to /init, here and on the bare machine. In the VM the
    TSC reads 0 at the entry; there gdb's protocol reads it. Quiet: within 1 %. With the full log:
    60 M more at most."""
    kernel, rows = guest_file("vmlinuz"), []

    def vm(cmdline):
        out, err = _run(["--kernel", kernel, "--ramdisk", bare.initramfs(), "--memory", "256",
                         "--cmdline", cmdline, "--debug-exit"], None, 300)
        if b"PROBE end" not in out:
            raise Fail(TOOL, "the cloud kernel did not reach /init; the host's log ends: "
                             + _end(err))
        return bare.Report(out.decode("utf-8", "replace")).tsc

    for what, cmdline, bound in (("quiet", "console=ttyS0 quiet", lambda n: n + n // 100),
                                 ("full log", "console=ttyS0", lambda n: n + 60_000_000)):
        text, entry = bare.run(kernel, cmdline, 300, entry=True)
        there = bare.Report(text).tsc - entry
        if what == "quiet":  # bit 152: the TSC-deadline timer, which the bare machine has not
            rows.append({"name": "cloud kernel, quiet, no TSC-deadline timer, entry to /init",
                         "value": vm(cmdline + " clearcpuid=152"), "bound": bound(there)})
        name = f"cloud kernel, {what}, entry to /init"
        rows += [{"name": name, "value": vm(cmdline), "bound": bound(there)},
                 {"name": name + ", bare machine", "value": there, "bound": None}]
    return rows


def _sched_rows():
    """A VM that its timer wakes beside n spinning VMs (tests/guests/share.c): how late it runs, and
    what the way to it and back costs the spinner beyond what the woken VM itself executes."""
    kernel, rows = _guest("share.elf"), []

    def number(out, name):
        return int(re.search(rb"\b" + name + rb" (\d+)", out).group(1))

    for n in (1, 32):
        files = []
        for i in range(n + 1):
            files += ["--vm", os.path.join(OUT, f"v{i}.cfg")]
            with open(files[-1], "w", encoding="utf-8") as f:
                f.write(f'name = "v{i}"\nkernel = "{kernel}"\nmemory = 16\ndebug_exit = 1\n'
                        f'cmdline = "{"spin=4000" if i else "wait=400"}"\n')
        out, err = _run(files, None, 300)
        if out.count(b"SHARE: ") != n + 1:
            raise Fail(TOOL, f"{n + 1} VMs did not end well; the host's log ends: {_end(err)}")
        rows.append({"name": f"timer to running, beside {n} spinning", "value": number(out, b"p99"),
                     "bound": 1_000_000})
        if n == 1:
            gap = int(re.search(rb"gaps \d+ median (\d+)", out).group(1))
            rows.append({"name": "switch to the woken VM and back",
                         "value": gap - number(out, b"awake"), "bound": None})
    return rows


def _smp_rows():
    """An interrupt to the other vCPU, which halts, and one back, on one host CPU
    (tests/guests/smp.c)."""
    out, err = _run(["--kernel", _guest("smp.elf"), "--memory", "64", "--vcpus", "2",
                     "--cmdline", "rtt exit=0", "--debug-exit"], None, 120)
    m = re.search(rb"SMP: rtt (\d+)\r\n", out)
    if not m:
        raise Fail(TOOL, f"no round trip was measured; the host's log ends: {_end(err)}")
    return [{"name": "IPI round trip between two vCPUs on one CPU", "value": int(m.group(1)),
             "bound": None}]


VBENCH = re.compile(rb"^VBENCH (\S+) (\d+)\r?\n", re.M)
VIRTIO_ROWS = (("doorbell", "doorbell for a queue with nothing new", 500),
               ("qd1", "4 KiB read over ram:, one by one", 5000),
               ("qd32", "4 KiB read over ram:, 32 at a time", 2000))
VNET_ROWS = (("single", "one by one", 6000), ("batch", "32 at a time", 1800))


def _measured(cfgs, ends, stats):
    """(output, exits so far of each VM in `stats`) of a run, once a line has `ends`."""
    path, files, out = os.path.join(OUT, "control"), [], b""
    for name, text in cfgs.items():
        files += ["--vm", os.path.join(OUT, f"{name}.cfg")]
        with open(files[-1], "w", encoding="utf-8") as f:
            f.write(f'name = "{name}"\nmemory = 64\ndebug_exit = 1\n{text}\n')
    if os.path.exists(path):
        os.unlink(path)
    argv = [os.path.join(ROOT, "tools", "dalang"), "run", "--cpu", "amd", "--boot", "direct",
            "--icount", "--host-cpus", "1", "--timeout", "300", "--control", path, *files]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env={**os.environ, "DALANG_BUILT": "1"}) as p:
        for line in p.stdout:
            out += line
            if ends in line:
                break
        else:
            raise Fail(TOOL, f"no {ends.decode()}; the guests said: {_end(out)}")
        exits = [json.loads("\n".join(ask(path, f"stat {name} -j")[0]))["exits"] for name in stats]
        for name in cfgs:
            ask(path, f"destroy {name}")
        p.stdout.read()
    return out, [sum(e["count"] for e in one) for one in exits]


def _vbench(words, n):
    """(ticks of each row, exits of the whole run) of tests/guests/vbench.c."""
    img = os.path.join(OUT, "v.img")
    with open(img, "wb") as f:
        f.write(bytes(1 << 20))
    out, exits = _measured({"v": f'kernel = "{_guest("vbench.elf")}"\ncmdline = "{words} n={n}"\n'
                                 f'disk = [ "{img},raw,xvda,rw" ]'}, b"VBENCH done", ["v"])
    return {m.group(1).decode(): int(m.group(2)) for m in VBENCH.finditer(out)}, exits[0]


def _vnet(words, n):
    """(ticks a packet, exits of both VMs) of tests/guests/vnet.c."""
    cfgs = {role: f'kernel = "{_guest("vnet.elf")}"\ncmdline = "{role} {words} n={n}"\n'
                  f'vif = [ "bridge=lan0,mac=02:00:00:00:00:{mac}" ]'
            for role, mac in (("ask", "02"), ("answer", "03"))}
    out, exits = _measured(cfgs, b"VNET done", list(cfgs))
    return int(re.search(rb"VNET \w+ (\d+)\r?\n", out).group(1)), sum(exits)


def _virtio_rows():
    """A request to a virtio device by a guest's minimal driver, everything in it; exits: by what
    twice as many take."""
    rows = []
    for packed in ("", " packed"):
        for name, what, bound in VIRTIO_ROWS:
            (once, few), (_, many) = (_vbench(name + packed, n) for n in (1024, 2048))
            exits = (many - few) / 1024
            rows.append({"name": f"{what}{', packed ring' if packed else ''} ({exits:.2f} exits)",
                         "value": once[name], "bound": None if packed else bound})
    return rows


def _net_rows():
    """A packet from guest to guest by their minimal drivers, everything in it, one host CPU."""
    rows = []
    for packed in ("", " packed"):
        for name, what, bound in VNET_ROWS:
            for size in (64,) if packed else (64, 1500):
                (once, few), (_, many) = (_vnet(f"{name} len={size}{packed}", n)
                                          for n in (1024, 2048))
                exits = (many - few) / 1024
                rows.append({"name": f"{size} bytes guest to guest, {what}"
                                     f"{', packed ring' if packed else ''} ({exits:.2f} exits)",
                             "value": once, "bound": None if packed else bound})
    return rows


def _exit_rows():
    kernel = os.path.join(SHARED, "exitbench", "exitbench.elf")
    if not os.path.exists(kernel):
        say(f"{kernel} is not there: no table of exits")
        return []
    out, err = _run(["--kernel", kernel, "--memory", "256", "--debug-exit"], None, 300)
    if b"EXITBENCH DONE" not in out:
        raise Fail(TOOL, f"exitbench did not end; the host's log ends: {_end(err)}")
    rows = []
    for m in BENCH_LINE.finditer(out.replace(b"\r", b"")):
        name = m.group(1).decode()
        lo, med, avg, p99, n = (int(x) for x in m.groups()[1:6])
        rows.append({"name": name, "value": med, "min": lo, "average": avg, "p99": p99, "n": n,
                     "fault": int(m.group(7)) if m.group(7) else None,
                     "bound": EXIT_BOUNDS.get(name)})
    missing = set(EXIT_BOUNDS) - {r["name"] for r in rows}
    if missing:
        raise Fail(TOOL, f"exitbench printed no row for {', '.join(sorted(missing))}")
    return rows


def _own_kib(path, gone):
    """KiB of our pool in use, nested tables aside, when the VM `gone` has given its memory back."""
    seen = None
    for _ in range(200):
        lines = [line.split() for line in ask(path, "mem")[0]]
        words = {w[0]: w for w in lines if w}
        used = int(words["ours"][1]) - int(words["ours"][2]) - int(words["nested-tables"][1])
        if gone not in words and used == seen:
            return used
        seen = used
        time.sleep(0.2)
    raise Fail(TOOL, f"VM {gone} did not go: {words}")


def _own_rows(cpu, boot, cpus, mib):
    """What Dalang itself needs, by what comes back when a VM of 9 vCPUs goes, then one of 1
    (tests/guests/tiny.c). The host's own is its image and what is left with one more VM of one."""
    tiny = _guest("tiny.elf")
    path = os.path.join(OUT, "control")
    argv = [os.path.join(ROOT, "tools", "dalang"), "run", "--cpu", cpu, "--boot", boot,
            "--host-cpus", str(cpus), "--host-memory", str(mib), "--timeout", "300",
            "--control", path]
    for name, vcpus in (("last", 1), ("one", 1), ("nine", 9)):
        argv += ["--vm", os.path.join(OUT, f"{name}.cfg")]
        with open(argv[-1], "w", encoding="utf-8") as f:
            f.write(f'name = "{name}"\nkernel = "{tiny}"\nmemory = 64\nvcpus = {vcpus}\n'
                    'cmdline = "hlt"\n')
    if os.path.exists(path):
        os.unlink(path)
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env={**os.environ, "DALANG_BUILT": "1"}) as p:
        ready = 0
        for line in p.stdout:
            ready += b"TINY: ready" in line
            if ready == 3:
                break
        else:
            raise Fail(TOOL, f"the VMs for measuring our memory did not start on {cpu}")
        used = [_own_kib(path, "")]
        for name in ("nine", "one"):
            ask(path, f"destroy {name}")
            used.append(_own_kib(path, name))
        ask(path, "destroy last")
        p.stdout.read()
    vcpu = -(-(used[0] - used[1] - (used[1] - used[2])) // 8)
    size = subprocess.run(["size", os.path.join(BUILD, "dalang.elf")], capture_output=True,
                          text=True, check=True)
    image = -(-int(size.stdout.split()[9]) // 1024)
    rows = [{"name": f"KiB: a vCPU, {cpu}", "value": vcpu, "bound": OWN_BOUNDS["vCPU"]},
            {"name": f"KiB: a VM without its vCPU, {cpu}", "value": used[1] - used[2] - vcpu,
             "bound": OWN_BOUNDS["VM"]}]
    if mib == 4096:
        rows.append({"name": "KiB: the host of 2 CPUs and 4 GiB, its image and one VM of 1 vCPU "
                             "included",
                     "value": image + used[2], "bound": OWN_BOUNDS["host"]})
    return rows


def _table(rows):
    lines = ["| row | instructions or KiB | bound |", "|---|---:|---:|"]
    for r in rows:
        bound = "" if r["bound"] is None else f"{r['bound']:,}"
        missed = r["bound"] is not None and r["value"] > r["bound"]
        fault = f" (#{r['fault']})" if r.get("fault") is not None else ""
        bound += " MISSED" if missed else ""
        lines.append(f"| {r['name']}{fault} | {r['value']:,} | {bound} |")
    return "\n".join(lines) + "\n"


def doc_value(row, rows):
    """What belongs into Dalang's column beside one row name of docs/performance.md, or None."""
    by_name = {r["name"]: r for r in rows}
    if row in by_name:
        return _cell(by_name[row])
    if "," in row and "delivered" not in row:
        short = {"mov-cr3": "mov-cr3-reload", "mov-dr7": "mov-dr7-write",
                 "mov-cr8": "mov-cr8-write"}
        vals = [by_name.get(short.get(n.strip(), n.strip())) for n in row.split(",")]
        vals = sorted(r["value"] for r in vals if r)
        return f"{vals[0]}-{vals[-1]}" if vals else None
    name = row.replace(", delivered", "").replace("hypercall (vmmcall)", "hypercall(vmmcall)")
    if name.endswith(" (average)"):
        r = by_name.get(name[: -len(" (average)")])
        return str(r["average"]) if r else None
    return _cell(by_name[name]) if name in by_name else None


def _cell(row):
    """The number, and the exception by which the operation ended, if by one."""
    return f"{row['value']}" + (f" (#{row['fault']})" if row.get("fault") is not None else "")


def update_doc(rows):
    """Put the numbers into the Dalang column of docs/performance.md."""
    with open(DOC, encoding="utf-8") as f:
        lines = f.read().split("\n")
    column = None
    for i, line in enumerate(lines):
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            column = None
        elif {"Dalang", "instructions", "KiB"} & set(cells):
            column = next(i for i, c in enumerate(cells) if c in ("Dalang", "instructions", "KiB"))
        elif column is not None and not line.startswith("|---"):
            value = doc_value(cells[0], rows)
            if value is not None:
                cells[column] = value
                lines[i] = "| " + " | ".join(cells) + " |"
    with open(DOC, "w", encoding="utf-8") as f:
        f.write("\n".join(lines))


def bench(argv):
    if argv[:1] == ["--where"] and len(argv) == 2:
        import where
        return where.where(argv[1])
    if argv not in ([], ["--update-docs"]):
        raise Fail(USAGE, "bench takes no option but --update-docs, which writes "
                          "docs/performance.md anew, and --where 'GUEST WORDS', which says where a "
                          "row's instructions go")
    os.makedirs(OUT, exist_ok=True)
    rows = [_boot_row("entry to first guest instruction, tiny guest",
                      ["--kernel", _guest("tiny.elf"), "--memory", "256", "--cmdline", "poweroff"]),
            _boot_row("entry to first guest instruction, cloud kernel",
                      ["--kernel", guest_file("vmlinuz"), "--ramdisk", guests.initramfs(),
                       "--memory", "256", "--cmdline", guests.CMDLINE])]
    rows += _linux_rows() + _sched_rows() + _smp_rows() + _virtio_rows() + _net_rows()
    rows += bench_linux.rows(_run, OUT) + _exit_rows()
    rows += _own_rows("amd", "direct", 2, 4096) + _own_rows("intel", "grub", 1, 1024)
    table = _table(rows)
    with open(os.path.join(OUT, "bench.md"), "w", encoding="utf-8") as f:
        f.write(table)
    with open(os.path.join(OUT, "bench.json"), "w", encoding="utf-8") as f:
        json.dump(rows, f, indent=1)
    print(table, end="")
    if argv:
        update_doc(rows)
    missed = [r for r in rows if r["bound"] is not None and r["value"] > r["bound"]]
    for r in missed:
        say(f"{r['name']}: {r['value']:,}, more than its bound of {r['bound']:,}")
    return 1 if missed else 0
