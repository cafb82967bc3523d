# SPDX-License-Identifier: BSD-2-Clause
"""`coverage`: which lines of arch/, vmm/ and drivers/ run in unit tests, fuzz targets and system tests. Builds that count
(make COVERAGE=1) run them; the host's counters come out on port 0xe9 (tests/coverage/dump.c); gcov makes lines of them.
Writes the tables of docs/coverage.md."""
import glob
import json
import os
import re
import shutil
import struct
import subprocess

from util import BUILD, ROOT, TOOL, USAGE, Fail, say

OUT = os.path.join(BUILD, "cov")
E9 = os.path.join(OUT, "e9")
DOC = os.path.join(ROOT, "docs", "coverage.md")
BEGIN, END = "<!-- tools/dalang coverage: -->", "<!-- until here -->"
MEASURED = re.compile(r"(arch/x86_64(?:/vmx|/svm)?|vmm(?:/platform|/monitor)?|drivers(?:/\w+)?)/[^/]+\.[ch]$")
# By whole names. Each kind of machine, guest and end once; no test of time, and none whose host is cut off, since the
# counters come out when it ends by itself.
SYSTEM = """tiny-amd-grub-4 tiny-amd-uefi-2 tiny-intel-uefi-1 tiny-intel-grub-2 cloud-amd-direct cputest-amd cputest-intel
timer-interrupts host-nmi host-double-fault host-machine-check end-poweroff end-reboot-destroy end-triple-fault-destroy
end-reboot-restart end-killed-restart end-killed-rename-restart end-debug-exit-widths console-echo several-vms-4-cpus
kernel-cloud-noapic kernel-cloud-clocksource-hpet kernel-686 nmi-button lifecycle-intel torture-leaves-1g
memory-recycled-amd bad-config bad-foreign-kernel bad-truncated-kernel bad-no-svm bad-no-npt bad-no-ept machine-pc
machine-microvm machine-no-pit-no-hpet machine-no-acpi machine-no-clock iommu-vtd-left-on iommu-amd-left-on
usb-stick-no-serial refusal-on-screen bochs-skylake bochs-ryzen smp-amd-8-on-4 smp-intel-2 smp-ends torture-cputest-amd
torture-cputest-intel torture-smp-amd torture-smp-intel pv-amd pv-intel torture-pv-amd sched-weights sched-cap
sched-three-on-two sched-pause-loop""".split()


class Seen:
    """Lines and functions of one kind of run, by source file."""

    def __init__(self):
        self.lines = {}      # file: {line: ran}
        self.functions = {}  # file: {name: ran}

    def add(self, gcda):
        """What gcov says of these counters."""
        if not gcda:
            return
        r = subprocess.run(["gcov", "--json-format", "--stdout", *gcda], cwd=ROOT, capture_output=True, check=False)
        for doc in r.stdout.splitlines():
            for f in json.loads(doc)["files"]:
                name = os.path.normpath(f["file"])
                if not MEASURED.match(name):
                    continue
                lines, functions = self.lines.setdefault(name, {}), self.functions.setdefault(name, {})
                for x in f["lines"]:
                    lines[x["line_number"]] = lines.get(x["line_number"], False) or x["count"] > 0
                for x in f["functions"]:
                    functions[x["name"]] = functions.get(x["name"], False) or x["execution_count"] > 0


def _make(*targets, out=OUT):
    r = subprocess.run(["make", "-s", f"-j{os.cpu_count()}", "COVERAGE=1", f"B={os.path.relpath(out, ROOT)}", *targets],
                       cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if r.returncode:
        raise Fail(TOOL, f"make COVERAGE=1 {' '.join(targets)} failed; it ends: {r.stdout[-2000:]}")


def _unpack(path):
    """The .gcda files of one machine's run, put where their .gcno files are."""
    with open(path, "rb") as f:
        data = f.read()
    at = data.find(b"DALANG-GCOV\n")
    if at < 0:
        return []
    at += 12
    files = {}
    while at < len(data) and data[at:at + 1] != b"E":
        kind, n = struct.unpack_from("<cH", data, at)
        piece = data[at + 3:at + 3 + n]
        at += 3 + n
        if kind == b"F":
            now = files.setdefault(piece.decode(), bytearray())
        elif kind == b"D":
            now += piece
        else:
            raise Fail(TOOL, f"{path}: byte {at} is no record of tests/coverage/dump.c")
    for name, content in files.items():
        if os.path.commonpath([name, OUT]) != OUT:
            raise Fail(TOOL, f"{path}: a counter file is called {name}, outside {OUT}")
        with open(name, "wb") as f:
            f.write(content)
    return list(files)


VIRTIO = "drivers/virtio/"
VIRTIO_LEAST = 90  # per cent of its lines


def _virtio():
    """Of drivers/virtio/ alone, by the unit tests and fuzz targets that link it: a check that takes seconds."""
    programs = []
    for kind, folder in (("test_", "unit"), ("fuzz_", "fuzz-replay")):
        for path in sorted(glob.glob(os.path.join(ROOT, "tests", "unit" if kind == "test_" else "fuzz", f"{kind}*.c"))):
            with open(path, encoding="utf-8") as f:
                if re.search(VIRTIO + r"\w+\.c\b", f.read()):
                    programs.append((folder, os.path.basename(path)[len(kind):-2]))
    out = os.path.join(BUILD, "cov-virtio")
    for old in glob.glob(os.path.join(out, "**", "*.gcda"), recursive=True):
        os.unlink(old)
    _make(*(os.path.relpath(os.path.join(out, *p), ROOT) for p in programs), out=out)
    for folder, name in programs:
        argv = [os.path.join(out, folder, name)]
        if folder == "fuzz-replay":
            argv.append(os.path.join(ROOT, "tests", "fuzz", "corpus", name))
        r = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if r.returncode:
            raise Fail(TOOL, f"{argv[0]} failed; it ends: {r.stdout[-2000:]}")
    seen = Seen()
    seen.add(glob.glob(os.path.join(out, "**", "*.gcda"), recursive=True))
    files = {name: lines for name, lines in seen.lines.items() if name.startswith(VIRTIO)}
    for name in sorted(files):
        never = [n for n, ran in sorted(files[name].items()) if not ran]
        print(f"| {name} | {len(files[name])} | {_percent(len(files[name]) - len(never), len(files[name]))} | "
              f"{', '.join(map(str, never))} |")
    ran, lines = sum(sum(x.values()) for x in files.values()), sum(map(len, files.values()))
    print(f"| all | {lines} | {_percent(ran, lines)} | {lines - ran} |")
    if not lines or 100 * ran < VIRTIO_LEAST * lines:
        raise Fail(TOOL, f"unit tests and fuzz corpora reach {ran} of {lines} lines of {VIRTIO}, less than {VIRTIO_LEAST} %")
    return 0


def _unit():
    """Unit tests and fuzz targets over their corpora."""
    for old in glob.glob(os.path.join(OUT, "**", "*.gcda"), recursive=True):
        os.unlink(old)
    _make("unit", "fuzz-replay")
    seen = Seen()
    for folder in ("unit", "fuzz-replay"):
        seen.add(glob.glob(os.path.join(OUT, folder, "**", "*.gcda"), recursive=True))
    return seen


def _system():
    """The chosen system tests, on a host that counts; each machine leaves a file in E9. Those that failed."""
    shutil.rmtree(E9, ignore_errors=True)
    os.makedirs(E9)
    _make(os.path.relpath(os.path.join(OUT, "dalang.elf"), ROOT))
    only = [x for name in SYSTEM for x in ("--only", name)]
    env = {**os.environ, "DALANG_BUILT": "1", "DALANG_TEST_ELF": os.path.join(OUT, "dalang.elf"), "DALANG_TEST_E9": E9}
    r = subprocess.run([os.path.join(ROOT, "tools", "dalang"), "test", "--exactly", *only], env=env, cwd=ROOT,
                       stdout=subprocess.PIPE, text=True, check=False)
    say(r.stdout.strip().splitlines()[-1] if r.stdout.strip() else "no test ran")
    return re.findall(r"^FAIL (\S+)", r.stdout, re.M)


def _read():
    """What the machines of _system() left, and how many they were."""
    seen, machines = Seen(), 0
    for path in sorted(glob.glob(os.path.join(E9, "*.e9"))):
        gcda = _unpack(path)
        machines += bool(gcda)
        seen.add(gcda)
        for name in gcda:
            os.unlink(name)
    if not machines:
        raise Fail(TOOL, "no machine left its counters on port 0xe9")
    return seen, machines


def _percent(part, whole):
    return f"{100 * part / whole:.1f}" if whole else "-"


def _report(unit, system):
    """The tables: lines by folder and file, and the functions that nothing entered."""
    files = {}
    for kind, seen in enumerate((unit, system)):
        for name, lines in seen.lines.items():
            for line, ran in lines.items():
                files.setdefault(name, {}).setdefault(line, [False, False])[kind] |= ran
    folders, rows = {}, []
    for name in sorted(files):
        counts = [len(files[name]), *(sum(bool(f(x)) for x in files[name].values())
                                      for f in (lambda x: x[0], lambda x: x[1], any))]
        rows.append((name, counts))
        for folder in (os.path.dirname(name), "all"):
            folders[folder] = [a + b for a, b in zip(folders.get(folder, [0] * 4), counts)]
    head = ["lines", "unit and fuzz %", "system %", "together %", "not reached"]

    def table(what, rows):
        yield f"| {what} | " + " | ".join(head) + " |"
        yield "|---|" + "---:|" * len(head)
        for name, (n, u, s, both) in rows:
            yield f"| {name} | {n} | {_percent(u, n)} | {_percent(s, n)} | {_percent(both, n)} | {n - both} |"

    out = [*table("folder", sorted(folders.items(), key=lambda x: (x[0] == "all", x[0]))), "", *table("file", rows), "",
           "Functions that nothing entered:", ""]
    for name in sorted(files):
        ran = {f for seen in (unit, system) for f, r in seen.functions.get(name, {}).items() if r}
        never = {f for seen in (unit, system) for f in seen.functions.get(name, {})} - ran
        if never:
            out.append(f"- {name}: {', '.join(sorted(never))}")
    return out


def _write(lines):
    with open(DOC, encoding="utf-8") as f:
        text = f.read()
    before, rest = text.split(BEGIN + "\n", 1)
    after = rest.split(END, 1)[1]
    with open(DOC, "w", encoding="utf-8") as f:
        f.write(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)


def coverage(argv):
    if argv == ["--virtio"]:
        return _virtio()
    if argv not in ([], ["--report"]):
        raise Fail(USAGE, "coverage takes no option but --report: the tables anew, of the last run's counters; "
                          "or --virtio: that drivers/virtio is reached, in seconds")
    os.makedirs(OUT, exist_ok=True)
    failed = [] if argv else _system()
    unit = _unit()
    system, machines = _read()
    _write([f"Of {machines} machines that ran to their own end.", "", *_report(unit, system)])
    for name in failed:
        say(f"{name} failed on the counting host; its part may be missing")
    print(f"{DOC} is written")
    return 1 if failed else 0
