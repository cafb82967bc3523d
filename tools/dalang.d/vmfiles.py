# SPDX-License-Identifier: BSD-2-Clause
"""VM files: checked by the hypervisor's own parser (build/dalang-cfg), their files found and packed."""
import os
import re
import subprocess

from util import TOOL, USAGE, Fail, Voice, built, say

# Enough of xl.cfg's lexis to find the strings of a file that the real parser has accepted.
TOKEN = re.compile(r"""\#[^\n]* | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | [A-Za-z_][A-Za-z0-9_]*
                       | [\[\]=,;\n] | \s | .""", re.X | re.S)
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Refused(Exception):
    pass


class Vm:
    def __init__(self, name, source):
        self.name, self.source = name, source
        self.memory = 0
        self.refused = False
        self.mirrored = False  # one of its network cards is: by its file


def quote(text):
    """A string in xl.cfg's syntax."""
    out = []
    for c in text:
        if c in "\\\"":
            out.append("\\" + c)
        elif c == "\n":
            out.append("\\n")
        elif ord(c) < 32:
            out.append(f"\\{ord(c):03o}")
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


def unquote(token):
    def one(m):
        e = m.group(1)
        if e[0] == "x" and len(e) > 1:
            return chr(int(e[1:], 16))
        if e[0] in "01234567":
            return chr(int(e, 8) & 255)
        return ESCAPES.get(e, e)

    return re.sub(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", one, token[1:-1], flags=re.S)


def disk_target(spec):
    """The file of an xl disk specification; xl: `target=` takes the rest of the line, else it is the first word."""
    m = re.search(r"(?:^|,)\s*target\s*=(.*)$", spec, re.S)
    return (m.group(1) if m else spec.split(",")[0]).strip()


def backend(target):
    """(prefix, file) of a disk's target: "cow:", "ram:" before a file; the machine's disks, "host:", are none."""
    m = re.match(r"(?:cow:)*(?:ram:|host:)?", target)
    return m.group(), "" if m.group().endswith("host:") else target[m.end():]


def write_vm_file(opts, disks):
    """The text of a VM file from the command line's options; disks: as xl writes them."""
    lines = ['name = "guest"']
    for key in ("kernel", "ramdisk"):
        value = getattr(opts, key)
        if value is not None:
            lines.append(f"{key} = {quote(value and os.path.abspath(value))}")
    if opts.cmdline is not None:
        lines.append(f"cmdline = {quote(opts.cmdline)}")
    lines.append(f"memory = {opts.memory or 256}")
    lines.append(f"vcpus = {opts.vcpus or 1}")
    if disks:
        lines.append("disk = [ " + ", ".join(map(quote, disks)) + " ]")
    if opts.debug_exit:
        lines.append("debug_exit = 1")
    if "DALANG_TEST_TORTURE" in os.environ:  # the tests' torture mode, for the VMs that have no file
        lines.append("torture = " + os.environ["DALANG_TEST_TORTURE"])
    return "\n".join(lines) + "\n"


def parse(path, tell):
    """[(key, value)] as the hypervisor's parser sees the file. tell: takes what it has to say, line by line."""
    r = subprocess.run([built("dalang-cfg"), "vm", path], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in r.stderr.decode("utf-8", "replace").splitlines():
        tell(line)  # FILE:LINE:COLUMN first, for editors
    if r.returncode == 64:
        raise Refused
    if r.returncode:
        raise Fail(TOOL, f"dalang-cfg failed on {path} with status {r.returncode}")
    pairs = []
    for line in r.stdout.decode("utf-8", "surrogateescape").splitlines():
        key, _, value = line.partition("=")
        pairs.append((key, value))
    return pairs


def rewrite(text, names):
    """Put packed names where kernel, ramdisk and disk name files; lines and columns of the rest stay."""
    out, key, depth = [], None, 0
    tokens = TOKEN.findall(text)
    for i, t in enumerate(tokens):
        if t == "[":
            depth += 1
        elif t == "]":
            depth -= 1
        elif t in ("\n", ";") and depth == 0:
            key = None
        elif key is None and re.match(r"[A-Za-z_]", t):
            key = t
        elif t[0] in "\"'" and len(t) > 1 and key in ("kernel", "ramdisk", "disk"):
            value = unquote(t)
            if key == "disk":
                target = disk_target(value)
                if target:  # else a drive without a medium
                    head, _, tail = value.rpartition(target) if "target" in value else ("", "", "")
                    if not head:
                        head, _, tail = value.partition(target)
                    t = quote(head + names[("disk", target)] + tail)
            elif value:
                t = quote(names[(key, value)])
        out.append(t)
    return "".join(out)


class Pack:
    """The files of \\dalang\\: VM files, and one copy of each file that they name."""

    def __init__(self):
        self.files = {}
        self.vms = []
        self.loose = []  # packed files that no VM file names: --file
        self.from_options = None  # the VM file that we wrote ourselves
        self._by_source = {}
        self._taken = {"dalang.cfg", "dalang.elf"}

    def _name_for(self, path):
        """A name that is flat, plain and unique on a volume that knows no case."""
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", os.path.basename(path))[:80] or "file"
        base, ext = os.path.splitext(stem)
        name, n = stem, 1
        while name.lower() in self._taken:
            n += 1
            name = f"{base}-{n}{ext}"
        self._taken.add(name.lower())
        return name

    def _find(self, vm_file, key, value):
        """Beside the VM file first, then from where the user stands."""
        folders = [os.path.dirname(os.path.abspath(vm_file)), os.getcwd()]
        tried = []
        for d in folders:
            path = os.path.normpath(os.path.join(d, value))
            if path not in tried:
                tried.append(path)
            if not os.path.exists(path):
                continue
            if not os.path.isfile(path):
                self._no(vm_file, key, f"{path} is not a plain file", "name a file")
            try:
                with open(path, "rb"):
                    pass
            except OSError as e:
                self._no(vm_file, key, f"cannot read {path}: {e.strerror}", "check its rights")
            if os.path.getsize(path) == 0:
                self._no(vm_file, key, f"{path} is empty",
                         "a disk image needs at least one sector" if key == "disk" else "name a whole file")
            return path
        self._no(vm_file, key, f"no such file: {' or '.join(tried)}", "mend the path")

    def _no(self, vm_file, key, what, mend):
        if vm_file == self.from_options:
            say(f"--{key}: {what}; {mend}")
        else:
            Voice.line(f"{vm_file}: error: {key}: {what}; {mend}")
        raise Refused

    def _tell(self, vm_file, text):
        """How a line of the parser reaches the user, who may never have seen the file."""
        if vm_file != self.from_options:
            return Voice.line
        lines = text.splitlines()

        def tell(line):
            m = re.match(r"(\d+):\d+: \w+: (.*)", line[len(vm_file) + 1:])
            say(f"--{lines[int(m[1]) - 1].split()[0]}: {m[2]}" if m else line)
        return tell

    def add_source(self, path):
        if path not in self._by_source:
            self._by_source[path] = self._name_for(path)
            self.files[self._by_source[path]] = path
        return self._by_source[path]

    def _packed(self, key, target, path):
        return target if path is None else (backend(target)[0] if key == "disk" else "") + self.add_source(path)

    def add_vm(self, path):
        """One --vm FILE. A refused one is kept in self.vms, marked: its status counts."""
        vm = Vm(os.path.basename(path), path)
        self.vms.append(vm)
        try:
            self._add_vm(vm, path)
        except Refused:
            vm.refused = True

    def _add_vm(self, vm, path):
        try:
            if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be read only once, and block
                raise OSError(0, "not a plain file")
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as f:
                text = f.read()
        except OSError as e:
            Voice.line(f"{path or '(no name)'}: error: cannot read this VM file: {e.strerror}; mend the path or its rights")
            raise Refused from e
        pairs = parse(path, self._tell(path, text))
        vm.name = dict(pairs).get("name") or vm.name
        twin = next((v for v in self.vms if v is not vm and not v.refused and v.name == vm.name), None)
        if twin:
            Voice.line(f"{path}: error: name = {quote(vm.name)} is taken by {twin.source}; two VMs must "
                f"have two names")
            raise Refused
        vm.mirrored = "mirror" in dict(pairs)
        memory = dict(pairs).get("memory", "")
        vm.memory = int(memory) if memory.isdigit() else 256
        found = {}
        for key, value in pairs:
            if key in ("kernel", "ramdisk", "disk") and value:
                target = disk_target(value) if key == "disk" else value
                file = backend(target)[1] if key == "disk" else value
                found[(key, target)] = self._find(path, key, file) if file or key != "disk" else None
        for (key, _), at in found.items():
            if at is None:
                continue
            mib = os.path.getsize(at) >> 20
            if key == "ramdisk" and mib >= vm.memory:
                self._no(path, key, f"{at} has {mib} MiB, the VM {vm.memory}", "raise memory or shrink the file")
        names = {(key, target): self._packed(key, target, p) for (key, target), p in found.items()}
        packed = self._name_for(path)
        self.files[packed] = rewrite(text, names).encode("utf-8", "surrogateescape")
        vm.packed = packed

    def add_files(self, paths):
        """--file FILE: loaded for whoever asks for it later."""
        for path in paths:
            if not os.path.isfile(path) or not os.access(path, os.R_OK) or not os.path.getsize(path):
                raise Fail(USAGE, f"--file: {path}: " + ("it is empty, or cannot be read" if os.path.isfile(path) else "no such file"))
            self.loose.append(self.add_source(os.path.abspath(path)))

    def debug(self, name, waits):
        """--gdb: the VM of that name, or the first, waits at its first instruction for a debugger."""
        vm = next((v for v in self.running() if name in (None, v.name)), None)
        if vm is None:
            raise Fail(USAGE, f"--gdb: no VM is called {name}")
        if waits:
            self.files[vm.packed] += b"\ngdb = 1\n"

    def finish(self, mirror=False):
        """mirror: that of the network is wanted, of the cards that a file marks, or of all. Write dalang.cfg; it goes first, so that a person who looks finds it first."""
        started = [v.packed for v in self.vms if not v.refused]
        cfg = "vms = [ " + ", ".join(quote(p) for p in started) + " ]\nexit_when_empty = 1\n"
        if self.loose:
            cfg += "files = [ " + ", ".join(map(quote, self.loose)) + " ]\n"
        if "DALANG_TEST_UPLINK" in os.environ:
            cfg += f"uplink = [ {quote(os.environ['DALANG_TEST_UPLINK'])} ]\n"
        if "DALANG_TEST_LOGLEVEL" in os.environ:
            cfg += f"loglevel = {quote(os.environ['DALANG_TEST_LOGLEVEL'])}\n"
        if mirror:
            cfg += f"mirror = {2 if any(v.mirrored for v in self.running()) else 1}\n"
        self.files = {"dalang.cfg": cfg.encode(), **self.files}
        return self.files

    def running(self):
        return [v for v in self.vms if not v.refused]

    def largest(self):
        return max(((s, os.path.getsize(s)) for s in self.files.values() if not isinstance(s, bytes)),
                   key=lambda f: f[1], default=("", 0))

    def bytes(self):
        return sum(len(s) if isinstance(s, bytes) else os.path.getsize(s) for s in self.files.values())
