# SPDX-License-Identifier: BSD-2-Clause
"""The monitor of a running host, by a Unix socket: `run` serves it, `ctl` asks."""
import os
import select
import socket
import stat

from framing import LEAVE, TERMINAL_RESET
from util import BUILD, TOOL, USAGE, Fail, Raw, say

TERMINAL = b"\x1d\n"  # in place of a line: what follows are keys


def _folder():
    """Where the sockets are of hosts that were started without --control."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return os.path.join(runtime, "dalang") if runtime else os.path.join(BUILD, "run")


def default_path():
    """A socket for this process's host; None if its path would be longer than the system allows (unix(7))."""
    os.makedirs(_folder(), mode=0o700, exist_ok=True)
    path = os.path.join(_folder(), f"host-{os.getpid()}")
    if os.path.exists(path):
        os.unlink(path)  # of a dead process that had our number
    return path if len(os.fsencode(path)) < 108 else None


def running():
    """The sockets there, of hosts that still live."""
    found = []
    for name in sorted(os.listdir(_folder())) if os.path.isdir(_folder()) else []:
        path = os.path.join(_folder(), name)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            try:
                s.connect(path)
                found.append(path)
            except ConnectionRefusedError:
                os.unlink(path)  # its host was killed
            except OSError:
                pass
    return found


class Control:
    """One asker at a time, one line each; others wait in the socket's queue. Beside them one terminal."""

    def __init__(self, path):
        self._path = path
        self._listen = socket.socket(socket.AF_UNIX)
        try:
            self._listen.bind(path)
        except OSError as e:
            raise Fail(TOOL, f"--control {path}: {e.strerror}; name a file that is not there") from e
        self._listen.listen(8)
        self._asker = None
        self._terminal = None
        self._line = b""
        self._asked = False

    def sockets(self):
        return [self._asker or self._listen] + ([self._terminal] if self._terminal else [])

    def serve(self, ready):
        """(a whole line for the host, or nothing; keys for the monitor's terminal, or nothing)"""
        keys = self._keys() if self._terminal in ready else b""
        line = self._ask(ready)
        if line != TERMINAL:
            return line, keys
        if self._terminal:
            self.answer(b"somebody sits at the terminal\r\n")
            self._drop()
        else:
            self._terminal, self._asker = self._asker, None
            keys += TERMINAL_RESET + self._line[len(TERMINAL):]
        return b"", keys

    def _keys(self):
        try:
            keys = self._terminal.recv(4096)
        except OSError:
            keys = b""
        if not keys:
            self._terminal.close()
            self._terminal = None
        return keys or TERMINAL_RESET

    def show(self, data):
        try:
            if self._terminal:
                self._terminal.sendall(data)
        except OSError:
            pass  # it has gone: the next read says so

    def _ask(self, ready):
        if self._asker is None:
            if self._listen in ready:
                self._asker = self._listen.accept()[0]
                self._line, self._asked = b"", False
            return b""
        if self._asker not in ready:
            return b""
        try:
            data = self._asker.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._drop()
            return b""
        self._line += data
        if self._asked or b"\n" not in self._line:
            return b""
        self._asked = True
        return self._line.split(b"\n")[0] + b"\n"

    def answer(self, data):
        if self._asker is None:
            return  # it did not wait
        try:
            self._asker.sendall(data)
        except OSError:
            self._drop()

    def _drop(self):
        self._asker.close()
        self._asker = None

    def close(self):
        self._listen.close()
        if self._asker:
            self._drop()
        if self._terminal:
            self._terminal.close()
        os.unlink(self._path)


def ask(path, line, timeout=30):
    """(lines of the answer, None or what the monitor says is wrong)."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout)
        s.connect(path)
        s.sendall(line.encode() + b"\n")
        got = b""
        while True:
            data = s.recv(4096)
            if not data:
                raise Fail(TOOL, f"{path}: the host ended before it answered")
            got += data
            *lines, rest = got.decode("utf-8", "replace").split("\r\n")
            if lines and not rest and (lines[-1] == "ok" or lines[-1].startswith("error: ")):
                return lines[:-1], None if lines[-1] == "ok" else lines[-1]


def terminal(path, keys=b"", stdin=0, stdout=1):
    """The monitor as a person has it, on this terminal; keys: typed first. Ctrl-] leaves a console, then x the rest."""
    left = False
    with socket.socket(socket.AF_UNIX) as s, Raw(stdin) as raw:
        s.connect(path)
        s.sendall(TERMINAL + keys)
        if raw.is_tty:
            say("Ctrl-] leads from a console to the monitor; Ctrl-] x ends this")
        while True:
            ready, _, _ = select.select([s, stdin], [], [])
            if s in ready:
                data = s.recv(65536)
                if not data:
                    return 0  # the host has ended
                while data:
                    data = data[os.write(stdout, data):]
            if stdin not in ready:
                continue
            keys = os.read(stdin, 4096)
            for i, c in enumerate(keys):
                if left and c in b"xX":
                    s.sendall(keys[:i])
                    return 0
                left = c == LEAVE
            if not keys:
                return 0
            s.sendall(keys)


def _is_socket(path):
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _choose():
    hosts = running()
    if not hosts:
        raise Fail(TOOL, "no host runs that `tools/dalang run` started; or name its socket: --socket SOCKET")
    if len(hosts) > 1:
        raise Fail(USAGE, f"{len(hosts)} hosts run; say which: " + ", ".join(f"--socket {h}" for h in hosts))
    return hosts[0]


def ctl(argv):
    """[--socket SOCKET | SOCKET] [--] [VERB...]; without a verb, or with `console NAME`, a terminal."""
    path = None
    if argv[:1] == ["--socket"]:
        path, argv = (argv[1:2] or [None])[0], argv[2:]
    elif argv and ("/" in argv[0] or _is_socket(argv[0])):
        path, argv = argv[0], argv[1:]
    if argv[:1] == ["--"]:
        argv = argv[1:]
    if not argv or (argv[0] == "console" and len(argv) in (2, 4)):
        return terminal(path or _choose(), (" ".join(argv) + "\r").encode() if argv else b"")
    lines, wrong = ask(path or _choose(), " ".join(argv), timeout=None)
    for line in lines:
        print(line)
    if wrong:
        raise Fail(1, wrong)
    return 0
