# SPDX-License-Identifier: BSD-2-Clause
"""docs/console.md on this side of the wire: one serial port, many talkers."""

MARK_MAX = 1024  # longer than any event; an ESC _ d without an end is a guest's joke, not a mark
ESC = 0x1B
CHANNEL_MONITOR = 1
CHANNEL_FIRST = 2  # of the first guest: where what is typed goes
CHANNEL_MIRROR = 65534  # the network's, a pcap file
CHANNEL_TERMINAL = 65535  # the monitor as a person has it
TERMINAL_RESET = b"\xff"  # somebody new sits at it
LEAVE = 0x1D  # Ctrl-]: the one special byte
CHANNEL_GDB = 100000  # and its guest's: a debugger's
HEAD = b"\x1b_d"
TAIL = b"\x1b\\"


class Demux:
    """Takes the stream in pieces of any size; gives ('data', channel, bytes) and ('event', text)."""

    def __init__(self):
        self.channel = 0
        self._held = b""

    def feed(self, piece):
        buf = self._held + piece
        out, data, i = [], bytearray(), 0

        def flush():
            if data:
                out.append(("data", self.channel, bytes(data)))
                data.clear()

        while i < len(buf):
            esc = buf.find(ESC, i)
            if esc < 0:
                data += buf[i:]
                i = len(buf)
                break
            data += buf[i:esc]
            i = esc
            head = buf[i : i + 3]
            if head != HEAD[: len(head)]:
                data.append(ESC)
                i += 1
                continue
            end = buf.find(TAIL, i + 3) if len(head) == 3 else -1
            if len(head) < 3 or (end < 0 and len(buf) - i <= MARK_MAX):
                break  # the rest of the mark has not arrived
            if end < 0 or end - i > MARK_MAX:
                data.append(ESC)
                i += 1
                continue
            body = buf[i + 3 : end]
            i = end + 2
            if body == b"q":
                continue
            flush()
            if body.isdigit():
                self.channel = int(body)
            elif body[:1] == b"!":
                out.append(("event", body[1:].decode("utf-8", "replace").strip()))
        flush()
        self._held = buf[i:]
        return out

    def end(self):
        """The stream is over: what was held back after all. The machine may have lost its power
        between an event and the two bytes that end it."""
        held, self._held = self._held, b""
        if held.startswith(HEAD + b"!"):
            return [("event", held[4:].rstrip(b"\x1b").decode("utf-8", "replace").strip())]
        return [("data", self.channel, held)] if held else []


def encode_input(data):
    """Bytes for the current input channel."""
    return data.replace(b"\x1d", b"\x1d\x1d")


class NoCsi:
    """Drops terminal control sequences: firmware clears the screen that the user's shell is on."""

    def __init__(self):
        self._state = 0

    def feed(self, data):
        out = bytearray()
        for c in data:
            if self._state == 0:
                if c == ESC:
                    self._state = 1
                else:
                    out.append(c)
            elif self._state == 1:
                self._state = 2 if c == 0x5B else 0
            elif 0x40 <= c <= 0x7E:
                self._state = 0
        return bytes(out)


class Lines:
    """Several consoles on one output: whole lines, each with its owner's name in front. A line
    without an end (a prompt) is shown after a while, and finished when somebody else speaks."""

    PATIENCE = 0.3

    def __init__(self, write):
        self._write = write
        self._buf = {}
        self._since = {}
        self._open = None

    def feed(self, name, data, now):
        buf = self._buf.get(name, b"") + data
        *whole, rest = buf.split(b"\n")
        for line in whole:
            self._put(name, line + b"\n")
            self._open = None
        self._buf[name] = rest
        if rest:
            self._since[name] = now
        else:
            self._since.pop(name, None)

    def _put(self, name, text):
        if self._open != name:
            if self._open is not None:
                self._write(b"\n")
            self._write(name.encode() + b": ")
        self._write(text)

    def idle(self, now, force=False):
        for name in [n for n, t in self._since.items() if force or now - t >= self.PATIENCE]:
            self._put(name, self._buf[name])
            self._open = name
            self._buf[name] = b""
            del self._since[name]
        if force and self._open is not None:
            self._write(b"\n")
            self._open = None
