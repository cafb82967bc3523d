# SPDX-License-Identifier: BSD-2-Clause
"""The monitor of a running host, by a Unix socket: `run --control SOCKET` serves it, `ctl` asks."""
import os
import socket

from util import TOOL, USAGE, Fail


class Control:
    """One asker at a time, one line each; others wait in the socket's queue."""

    def __init__(self, path):
        self._path = path
        self._listen = socket.socket(socket.AF_UNIX)
        try:
            self._listen.bind(path)
        except OSError as e:
            raise Fail(TOOL, f"--control {path}: {e.strerror}; name a file that is not there") from e
        self._listen.listen(8)
        self._asker = None
        self._line = b""
        self._asked = False

    def sockets(self):
        return [self._asker or self._listen]

    def serve(self, ready):
        """A whole line for the host, or nothing."""
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


def ctl(argv):
    if len(argv) < 2:
        raise Fail(USAGE, "usage: tools/dalang ctl SOCKET VERB...")
    argv = [a for a in argv if a != "--"]
    lines, wrong = ask(argv[0], " ".join(argv[1:]))
    for line in lines:
        print(line)
    if wrong:
        raise Fail(1, wrong)
    return 0
