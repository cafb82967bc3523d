# SPDX-License-Identifier: BSD-2-Clause
"""One run of the host: its serial port between the terminal and the VMs, and what became of them."""
import os
import select
import sys
import time

from control import Control
from framing import (CHANNEL_FIRST, CHANNEL_GDB, CHANNEL_MIRROR, CHANNEL_MONITOR, CHANNEL_TERMINAL, LEAVE, Demux, Lines, NoCsi,
                     encode_input)
from gdb import Debugger
from pcap import Pcap
from util import KILLED, OK, PANIC, TIMEOUT, TOOL, USAGE, Raw, Voice, say

GRACE_END = 5.0    # after host-end, to power off
QUIT = 130
GRACE_PANIC = 3.0  # after a panic or a refused host, for the rest of the text


def debug_exit_status(value):
    return (min(value, 31) << 1) | 1


class Outcome:
    """From events to an exit status. order: VM names as given; None for one that was refused
    before the host started."""

    def __init__(self, order):
        self.order = list(order)
        self.names = [n for n in order if n is not None]
        self.status = {}
        self.channels = {}
        self.ports = {}  # of virtio's consoles: channel to "VM:PORT"
        self.hello = None
        self.refused = []
        self.panic = None
        self.host_end = False

    def event(self, text):
        """Takes one event, returns the line to tell the user, or None."""
        word, _, rest = text.partition(" ")
        args = rest.split(" ")
        if word == "hello" and len(args) >= 3:
            self.hello = args
            return f"host: version {args[0]}, backend {args[1]}, {args[2]} CPU(s)"
        if word == "vm-start" and len(args) >= 2 and args[1].isdigit():
            self.channels[int(args[1])] = args[0]
            self.status.pop(args[0], None)  # created again
            return f"VM {args[0]}: started"
        if word == "vm-port" and len(args) >= 3 and args[2].isdigit():
            self.ports[int(args[2])] = f"{args[0]}:{args[1]}"
            return None
        if word == "vm-end" and len(args) >= 2:
            return self._vm_end(args)
        if word == "vm-rename" and len(args) >= 2:
            self._rename(args[0], args[1])
            return f"VM {args[0]}: its name is {args[1]} now"
        if word == "vm-restart":
            return f"VM {args[0]}: restarted"
        if word == "vm-waits":
            return f"VM {args[0]}: waits for its debugger"
        if word == "refused":
            self.refused.append(rest)
            return f"refused: {rest}"
        if word == "panic":
            self.panic = rest
            return f"the hypervisor stopped itself: {rest}"
        if word == "host-end":
            self.host_end = True
            return None
        return f"event: {text}"

    def _rename(self, old, new):
        self.names = [new if n == old else n for n in self.names]
        self.order = [new if n == old else n for n in self.order]
        self.channels = {c: new if n == old else n for c, n in self.channels.items()}

    def _vm_end(self, args):
        name, how = args[0], args[1]
        if how == "exit" and len(args) >= 3 and args[2].isdigit():
            status, said = debug_exit_status(int(args[2])), f"debug exit, value {args[2]}"
        elif how in ("poweroff", "reboot", "destroyed"):
            status, said = OK, how
        else:
            status, said = KILLED, "killed: " + " ".join(args[2:])
        self.status[name] = status
        return f"VM {name}: ended, {said}"

    def final(self, why):
        """(status, line or None). why the loop ended: 'timeout', 'quit', or 'end'."""
        if self.panic is not None:
            return PANIC, None
        if why == "timeout":
            return TIMEOUT, "timeout"
        if why == "quit":
            return QUIT, "ended by Ctrl-] x"
        missing = [n for n in self.names if n not in self.status]
        if missing and not self.refused and not self.host_end:
            if self.hello is None:
                return TOOL, "the emulator ended before the host spoke"
            return PANIC, "the host stopped without a word (a triple fault, or the emulator ended)"
        if missing and not self.refused:
            return TOOL, f"the host ended and said nothing of {', '.join(missing)}"
        for n in self.order:
            s = self.status.get(n, USAGE)  # not ended and not missing: refused
            if s:
                return s, None
        return (USAGE if self.refused else OK), None


class Terminal(Raw):
    """Raw mode while the guest has the keyboard. Ctrl-] gives it to the monitor, which has it from then on and may
    show consoles; Ctrl-] x ends the emulator."""

    def __init__(self, fd):
        super().__init__(fd)
        self.monitor = False
        self._escape = False

    def keys(self, data):
        """(bytes for the guest, bytes for the monitor's terminal, quit?)"""
        if not self.is_tty:
            return data, b"", False
        guest, monitor = bytearray(), bytearray()
        for c in data:
            if self._escape and c in b"xX":
                return bytes(guest), bytes(monitor), True
            self._escape = c == LEAVE
            self.monitor |= self._escape
            (monitor if self.monitor else guest).append(c)
        return bytes(guest), bytes(monitor), False


class Session:
    """order: as in Outcome. watch(name, bytes): sees each guest's output and may return bytes to type.
    control: where others reach the monitor. pcap: where the network's mirror goes. gdb: [(VM or None for the first, TCP port, does it wait)]."""

    def __init__(self, emulator, order, timeout=None, stdin=None, stdout=None, watch=None, control=None, gdb=(), pcap=None):
        self.emulator = emulator
        self.outcome = Outcome(order)
        self._several = len(self.outcome.order) > 1
        self._timeout = timeout
        self._stdin = 0 if stdin is None else stdin
        self._stdout = 1 if stdout is None else stdout
        self._watch = watch
        self._control = Control(control) if control else None
        self._pcap = Pcap(pcap) if pcap else None
        self._debuggers = [Debugger(vm or self.outcome.order[0], port, waits) for vm, port, waits in gdb]
        self._in_channel = None  # nobody has said yet that we speak docs/console.md
        self._demux, self._nocsi = Demux(), NoCsi()
        self._lines = Lines(self._write)
        self._early = b""
        self._to_host = b""
        self._terminal = None
        self._copied = None  # the channel whose console the monitor's terminal shows
        self._next_send = 0.0
        self._deadline = None
        self._stdin_open = True

    def _write(self, data):
        while data:
            try:
                data = data[os.write(self._stdout, data):]
            except BlockingIOError:
                select.select([], [self._stdout], [])
            except BrokenPipeError:
                return

    def _log(self, data):
        if self.outcome.hello is None:
            data = self._nocsi.feed(data)
            self._watch_firmware(data)
        if not Voice.raw:
            data = data.replace(b"\r\n", b"\n")
        try:
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
        except OSError:
            pass

    def _watch_firmware(self, data):
        """A loader that gives up hands back to the firmware, which would sit in its shell for ever."""
        self._early = (self._early + data)[-2000:]
        if b"BdsDxe: failed to start Boot" in self._early and not self.outcome.refused:
            self._event("refused the UEFI application gave up; its reason stands above")

    def _grace(self, seconds):
        end = time.monotonic() + seconds
        self._deadline = end if self._deadline is None else min(self._deadline, end)

    def _take(self, items):
        for item in items:
            if item[0] == "event":
                self._event(item[1])
                continue
            _, channel, data = item
            name = self.outcome.channels.get(channel % CHANNEL_GDB)
            if channel >= CHANNEL_GDB:
                for d in self._debuggers:
                    d.answer(name, data)
                continue
            if channel == self._copied:
                self._monitor_says(data)
            if channel == CHANNEL_MONITOR and self._control:
                self._control.answer(data)
                continue
            if channel == CHANNEL_MIRROR:
                if self._pcap:
                    self._pcap.feed(data)
                continue
            if channel == CHANNEL_TERMINAL:
                self._monitor_says(data)
                continue
            if channel in self.outcome.ports:
                if not self._terminal.monitor:
                    self._lines.feed(self.outcome.ports[channel], data, time.monotonic())
                continue
            if name is None:
                self._log(data)
                continue
            if self._terminal.monitor:
                pass  # it shows the console that it was asked for
            elif self._several:
                self._lines.feed(name, data, time.monotonic())
            else:
                self._write(data)
            if self._watch:
                self._type(CHANNEL_FIRST, self._watch(name, data) or b"")

    def _monitor_says(self, data):
        if self._terminal.monitor:
            self._write(data)
        if self._control:
            self._control.show(data)

    def _event(self, text):
        if text.startswith("terminal "):
            self._copied = int(text.partition(" ")[2]) or None
            return
        for d in self._debuggers:
            d.event(text)
        line = self.outcome.event(text)
        if line:
            say(line)
        if self.outcome.host_end:
            self._grace(GRACE_END)
        if self.outcome.panic is not None or (self.outcome.refused and self.outcome.hello is None):
            self._grace(GRACE_PANIC)

    def _read_keys(self, terminal):
        try:
            data = os.read(self._stdin, 4096)
        except OSError:
            data = b""
        if not data:
            self._stdin_open = False  # the end of input is not the end of the VM
            return False
        data, monitor, leave = terminal.keys(data)
        self._type(CHANNEL_FIRST, data)
        self._type(CHANNEL_TERMINAL, monitor)
        return leave

    def _type(self, channel, data):
        if data and channel != self._in_channel:
            self._to_host += b"\x1d%d;" % channel
            self._in_channel = channel
        self._to_host += encode_input(data)

    def _debug(self, ready):
        for d in self._debuggers:
            channel = next((c for c, n in self.outcome.channels.items() if n == d.vm), None)
            data = d.serve(ready, channel is not None)
            if data:
                self._type(CHANNEL_GDB + channel, data)

    def _send(self, now):
        """Keys wait for the first VM: firmware and boot loaders would take them for theirs."""
        if not self._to_host or not self.outcome.channels or now < self._next_send:
            return
        rate = self.emulator.input_rate
        piece = self._to_host[: 8 if rate else 256]
        try:
            n = self.emulator.sock.send(piece)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            n = len(self._to_host)
        self._to_host = self._to_host[n:]
        if rate:
            self._next_send = now + n / rate

    def _loop(self, terminal, end):
        sock = self.emulator.sock
        sock.setblocking(False)
        while True:
            now = time.monotonic()
            if end is not None and now >= end:
                return "timeout"
            if self._deadline is not None and now >= self._deadline:
                return "end"
            self._lines.idle(now)
            reads = [sock]
            if self._stdin_open and len(self._to_host) < 4096:
                reads.append(self._stdin)
            reads += self._control.sockets() if self._control else []
            reads += [s for d in self._debuggers for s in d.sockets()]
            waiting = bool(self._to_host and self.outcome.channels)
            ready, _, _ = select.select(reads, [], [], 0.02 if waiting else 0.1)
            if self._stdin in ready and self._read_keys(terminal):
                return "quit"
            if self._control:
                line, keys = self._control.serve(ready)
                self._type(CHANNEL_MONITOR, line)
                self._type(CHANNEL_TERMINAL, keys)
            self._debug(ready)
            self._send(time.monotonic())
            if sock in ready:
                try:
                    data = sock.recv(65536)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    return "end"
                self.emulator.acknowledge()
                self._take(self._demux.feed(data))

    def run(self):
        """Until the host has ended. Returns the exit status."""
        end = None if self._timeout is None else time.monotonic() + self._timeout
        terminal = self._terminal = Terminal(self._stdin)
        try:
            self.emulator.start()
            with terminal:
                if terminal.is_tty:
                    say("your terminal is the VM's console; Ctrl-] leads to the monitor, Ctrl-] x ends the emulator")
                why = self._loop(terminal, end)
                self._take(self._demux.end())
                self._lines.idle(time.monotonic(), force=True)
        finally:
            self.emulator.kill()
            for end in [self._control, self._pcap, *self._debuggers]:
                if end:
                    end.close()
        status, line = self.outcome.final(why)
        if line:
            say(line)
        if status == TOOL and self.emulator.last_words():
            say(f"the emulator said: {self.emulator.last_words()}")
        return status
