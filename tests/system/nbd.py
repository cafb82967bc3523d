# SPDX-License-Identifier: BSD-2-Clause
"""A disk for QEMU whose cache loses what it holds when the power goes: an NBD server (the protocol's doc/proto.md)."""
import contextlib
import os
import socket
import struct
import threading

SECTOR = 512
GREETING = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3)  # fixed newstyle, no zeroes
GO = 7  # the option with which QEMU begins
FLAGS = 1 | 4  # has flags, has flush; so a FUA is a write and a flush
READ, WRITE, FLUSH = 0, 1, 3
REQUEST = struct.Struct(">IHHQQI")


class Disk:
    """`kept` is what is safe; a write is so when a flush behind it has been answered."""

    def __init__(self, folder, size):
        self.kept, self.lost = bytearray(size), 0
        self._cache = {}  # sector: its new content
        self._folder, self._lives = folder, 0
        self._left, self._fail = 0, None

    def serve(self, requests, fail):
        """To who connects to the socket whose name it returns, until so many writes and flushes have come; then calls fail() and is
        silent. Each time another socket: QEMU, while it is being killed, may connect anew."""
        self._left, self._fail = requests, fail
        self._lives += 1
        path = os.path.join(self._folder, f"disk{self._lives}")
        listen = socket.socket(socket.AF_UNIX)
        listen.bind(path)
        listen.listen(1)
        threading.Thread(target=self._serve, args=(listen,), daemon=True).start()
        return path

    def power_fails(self, dice):
        """Of what was in the cache each sector was on its way to the medium, or was not."""
        for sector, data in self._cache.items():
            if dice.random() < 0.5:
                self._keep(sector, data)
            else:
                self.lost += 1
        self._cache.clear()

    def _keep(self, sector, data):
        self.kept[sector * SECTOR:(sector + 1) * SECTOR] = data

    def _serve(self, listen):
        with listen:
            s, _ = listen.accept()
        # Who is killed takes no answer.
        with contextlib.suppress(OSError), s, s.makefile("rwb") as f:
            self._greet(f)
            while len(head := f.read(REQUEST.size)) == REQUEST.size and self._answer(f, head):
                f.flush()

    def _greet(self, f):
        f.write(GREETING)
        f.flush()
        f.read(4)
        option = 0
        while option != GO:
            _, option, size = struct.unpack(">QII", f.read(16))
            f.read(size)
            known = ((3, bytes(2) + struct.pack(">QH", len(self.kept), FLAGS)), (1, b""))
            for kind, data in known if option == GO else ((0x80000001, b""),):
                f.write(struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data)
            f.flush()

    def _answer(self, f, head):
        """Whether there is power still."""
        _, _, what, handle, at, size = REQUEST.unpack(head)
        first, data = at // SECTOR, b""
        if what not in (READ, WRITE, FLUSH):
            return False
        if what == WRITE:
            new = f.read(size)
            self._cache.update((first + i, new[i * SECTOR:(i + 1) * SECTOR]) for i in range(size // SECTOR))
        self._left -= what != READ
        if self._left <= 0:
            self._fail()
            return False
        if what == READ:
            data = b"".join(self._cache.get(n) or self.kept[n * SECTOR:(n + 1) * SECTOR] for n in range(first, first + size // SECTOR))
        elif what == FLUSH:
            for sector, new in self._cache.items():
                self._keep(sector, new)
            self._cache.clear()
        f.write(struct.pack(">IIQ", 0x67446698, 0, handle) + data)
        return True
