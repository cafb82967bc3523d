# SPDX-License-Identifier: BSD-2-Clause
"""What a system test holds in its hands: `tools/dalang run` as a person runs it, typed into and read."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "dalang.d"))

from util import die_with_parent  # noqa: E402

TINY = os.path.join(ROOT, "build", "tests", "guests", "tiny.elf")


class Skip(Exception):
    pass


class Failed(Exception):
    pass


class Case:
    """One test. seconds: about how long, for the order; memory: MiB, for what runs beside it;
    soak: too long for every change, run by `make soak` or by name. torture: a seed; every VM is in torture mode."""

    def __init__(self, name, function, seconds=20, memory=1500, timeout=300, soak=False, torture=None):
        self.name, self.function, self.soak, self.torture = name, function, soak, torture
        self.seconds, self.memory, self.timeout = seconds, memory, timeout


def _prepare():
    """In the child. A shell without job control starts what it puts into the background with SIGINT ignored."""
    die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Program:
    """A running command: what it printed so far, and whether it printed what we wait for."""

    def __init__(self, argv, log, end, env=None, cwd=None):
        self._end = end
        self._log = log
        self._cond = threading.Condition()
        self.out = b""
        self.err = b""
        self._open = 2
        log.write(("$ " + " ".join(argv) + "\n").encode())
        self._p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, cwd=cwd,
                                   preexec_fn=_prepare,
                                   env={**os.environ, "DALANG_BUILT": "1", **(env or {})})
        for stream, name in ((self._p.stdout, "out"), (self._p.stderr, "err")):
            threading.Thread(target=self._reader, args=(stream, name), daemon=True).start()

    def _reader(self, stream, name):
        while True:
            data = os.read(stream.fileno(), 65536)
            with self._cond:
                if data:
                    setattr(self, name, getattr(self, name) + data)
                    self._log.write(data)
                    self._log.flush()
                else:
                    self._open -= 1
                self._cond.notify_all()
            if not data:
                return

    def expect(self, pattern, where="out", start=0, within=None):
        """Wait for a regular expression in what was printed, `within` seconds or as long as the test may take;
        returns the match."""
        want = re.compile(pattern, re.S | re.M)
        end = min(self._end, time.monotonic() + within) if within else self._end
        with self._cond:
            while True:
                m = want.search(getattr(self, where), start)
                if m:
                    return m
                left = end - time.monotonic()
                if left <= 0:
                    raise Failed(f"did not see {pattern!r} in time")
                if self._open == 0:
                    raise Failed(f"ended (status {self._p.wait()}) without {pattern!r}")
                self._cond.wait(min(left, 1.0))

    def send(self, data):
        self._log.write(b"<typed: " + repr(data).encode() + b">\n")
        try:
            self._p.stdin.write(data)
            self._p.stdin.flush()
        except OSError as e:
            raise Failed(f"it no longer listens: {e}") from e

    def finish(self):
        """Its exit status; it must end in time."""
        try:
            self._p.stdin.close()
        except OSError:
            pass
        left = max(0.1, self._end - time.monotonic())
        try:
            status = self._p.wait(left)
        except subprocess.TimeoutExpired:
            self.stop()
            raise Failed("did not end in time") from None
        with self._cond:
            while self._open and time.monotonic() < self._end:
                self._cond.wait(0.5)
        self._log.write(f"<status {status}>\n".encode())
        return status

    @property
    def pid(self):
        return self._p.pid

    def stop(self):
        if self._p.poll() is None:
            os.kill(self._p.pid, signal.SIGTERM)
            try:
                self._p.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self._p.pid, signal.SIGKILL)
                self._p.wait()


class Context:
    """Given to each test."""

    def __init__(self, case, log):
        self.case, self.log = case, log
        self._end = time.monotonic() + case.timeout
        self.programs = []
        self._tmp = tempfile.TemporaryDirectory(prefix="dalang-test-")
        self.dir = self._tmp.name

    def close(self):
        for p in self.programs:
            p.stop()
        self._tmp.cleanup()

    def program(self, argv, env=None, cwd=None):
        p = Program(argv, self.log, self._end, env, cwd)
        self.programs.append(p)
        return p

    def command(self, *argv):
        """A command that must succeed."""
        p = self.program(list(argv), cwd=ROOT)
        status = p.finish()
        check(status == 0, f"{' '.join(argv)}: status {status}")
        return p

    def run(self, *options, env=None, timeout=None):
        """tools/dalang run, always with a timeout of its own inside the test's."""
        t = timeout or self.case.timeout - 15
        if self.case.torture is not None:
            env = {**(env or {}), "DALANG_TEST_TORTURE": str(self.case.torture)}
        return self.program([os.path.join(ROOT, "tools", "dalang"), "run", "--timeout", str(t), *options],
                            env=env, cwd=self.dir)

    def file(self, name, content):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        return path

    def vm_file(self, name, cmdline="", kernel=TINY, **more):
        keys = {"name": f'"{name}"', "kernel": f'"{kernel}"', "memory": 64, "debug_exit": 1,
                "cmdline": f'"{cmdline}"', **more}
        if self.case.torture is not None:
            keys.setdefault("torture", self.case.torture)
        lines = [f"{k} = {v}" for k, v in keys.items()]
        return self.file(name + ".cfg", "\n".join(lines) + "\n")


def check(truth, text):
    if not truth:
        raise Failed(text)


# Warnings of the host's log that a test machine deserves: Bochs' UEFI firmware has no ACPI tables.
DESERVED = ((rb"^dalang: Bochs.*boot by uefi", rb"no ACPI tables: "),)


def check_host(p, allow=()):
    """What must hold wherever the host ran to its own end: every CPU found is up, its page tables were
    checked when the last VM had gone, and it warned of nothing but what `allow` says."""
    log = [m.groups() for m in re.finditer(rb"^\[\d+\.\d+\] (\w+) (.*?)\r?$", p.err, re.M)]
    allow = [*allow, *(text for where, text in DESERVED if re.search(where, p.err, re.M))]
    for level, text in log:
        check(level not in (b"warning", b"error") or any(re.search(a, text) for a in allow),
              f"the host's log has a {level.decode()}: {text.decode('utf-8', 'replace')}")
    texts = [text for _, text in log]
    up = [m.groups() for m in (re.search(rb"^Dalang \S+: .*, (\d+) of (\d+) CPUs$", t) for t in texts) if m]
    check(len(up) == 1 and up[0][0] == up[0][1], f"not every CPU is up: {up}")
    ends = [i for i, t in enumerate(texts) if t.startswith(b"every VM has ended")]
    check(len(ends) == 1, "the host did not say that every VM has ended")
    check(re.match(rb"paging: checked, [1-9]\d* leaves, none writable and executable, none of the guests' pool$",
                   texts[ends[0] - 1]), f"the page tables were not checked at the end: {texts[-3:]}")


def check_status(p, want, allow=()):
    """Its status; and for a run that neither was cut short nor had something to complain of (64 refused,
    70 killed, 72 panic, 124 timeout), all that check_host() asserts."""
    got = p.finish()
    check(got == want, f"status {got}, not {want}; stderr ends: {p.err[-400:].decode('utf-8', 'replace')}")
    if b"dalang: host: version" in p.err and want not in (64, 70, 72, 124):
        check_host(p, allow)


def check_backend(p, backend, cpus):
    """The host said at start which backend runs and on how many CPUs."""
    m = p.expect(rb"^dalang: host: version (\S+), backend (\w+), (\d+) CPU\(s\)", "err")
    got = (m.group(2).decode(), int(m.group(3)))
    check(got == (backend, cpus), f"backend and CPUs are {got}, not {(backend, cpus)}")
