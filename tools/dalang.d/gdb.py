# SPDX-License-Identifier: BSD-2-Clause
"""`run --gdb`: a TCP port for a debugger, and its channel on the host's serial port. What it says goes through
unread (vmm/gdb/gdb.c understands it), but for its end, which the channel cannot know."""
import re
import socket

from util import TOOL, USAGE, Fail, say

# Whatever packet was under way ends, wrongly; then the byte that says so.
GONE = b"##00\x04"


def parse(specs):
    """[(VM or None, port, waits)] of --gdb [VM:]PORT[,nowait]."""
    out = []
    for spec in specs:
        m = re.fullmatch(r"(?:(.+):)?(\d+)(,nowait)?", spec)
        if not m or int(m[2]) > 65535:
            raise Fail(USAGE, f"--gdb {spec}: write PORT or VM:PORT, and ,nowait behind it if the VM shall not wait")
        out.append((m[1], int(m[2]), not m[3]))
    return out


class Debugger:
    """One debugger at a time; the next waits in the socket's queue. Until the VM is there, or waits for it, the
    port refuses, and gdb tries again."""

    def __init__(self, vm, port, waits):
        self.vm, self._waits = vm, waits
        self._listen = socket.socket()
        self._listen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listen.bind(("127.0.0.1", port))
        except OSError as e:
            raise Fail(TOOL, f"--gdb {port}: {e.strerror}; name a port that is free") from e
        self._peer = None
        self._open = False

    def sockets(self):
        return [self._peer or self._listen] if self._open else []

    def event(self, text):
        word, name = (text.split(" ") + [""])[:2]
        if word == "vm-rename" and name == self.vm:
            self.vm = text.split(" ")[2]
        if self._open or name != self.vm or word != ("vm-waits" if self._waits else "vm-start"):
            return
        self._listen.listen(4)
        self._open = True
        say(f"VM {name}: in gdb, `target remote :{self._listen.getsockname()[1]}`")

    def serve(self, ready, alive):
        """Bytes for the host. alive: the VM is there."""
        if self._peer is None:
            if self._listen in ready:
                self._peer = self._listen.accept()[0]
                self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return b""
        if self._peer not in ready:
            return b""
        if not alive:
            self._drop()
            return b""
        try:
            data = self._peer.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._drop()
        return data or GONE

    def answer(self, vm, data):
        if vm != self.vm or self._peer is None:
            return
        try:
            self._peer.sendall(data)
        except OSError:
            pass  # its end is seen when it is read

    def _drop(self):
        self._peer.close()
        self._peer = None

    def close(self):
        self._listen.close()
        if self._peer:
            self._drop()
