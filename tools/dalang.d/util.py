# SPDX-License-Identifier: BSD-2-Clause
"""What every module here shares: where things are, how to fail, how to speak."""
import ctypes
import os
import signal
import sys
import termios
import tty

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
GUEST_DIR = os.path.join(BUILD, "guest")
SHARED = os.environ.get("DALANG_SHARED") or os.path.join(os.path.dirname(ROOT), "shared")

OK, USAGE, KILLED, PANIC, TOOL, TIMEOUT = 0, 64, 70, 72, 74, 124


class Fail(Exception):
    """Ends the tool with one line and a status."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Voice:
    """Standard error. `raw`: the terminal is in raw mode, a line needs its own carriage return."""

    raw = False

    @classmethod
    def say(cls, text):
        cls.line("dalang: " + text)

    @classmethod
    def line(cls, text):
        end = "\r\n" if cls.raw else "\n"
        try:
            sys.stderr.buffer.write((text + end).encode("utf-8", "replace"))
            sys.stderr.buffer.flush()
        except OSError:
            pass


say = Voice.say


class Raw:
    """If fd is a terminal, it is in raw mode meanwhile."""

    def __init__(self, fd):
        self.fd = fd
        self.is_tty = os.isatty(fd)
        self._saved = None

    def __enter__(self):
        if self.is_tty:
            self._saved = termios.tcgetattr(self.fd)
            tty.setraw(self.fd)
            Voice.raw = True
        return self

    def __exit__(self, *_):
        if self._saved is not None:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._saved)
            Voice.raw = False


def built(name):
    path = os.path.join(BUILD, name)
    if name == "dalang.elf":
        path = os.environ.get("DALANG_TEST_ELF") or path  # for tests of other builds
    if not os.path.exists(path):
        raise Fail(TOOL, f"{path} is missing; `tools/dalang build` makes it")
    return path


def guest_file(name):
    path = os.path.join(GUEST_DIR, name)
    if not os.path.exists(path):
        raise Fail(TOOL, f"{path} is missing; `tools/setup` fetches it")
    return path


def die_with_parent(sig=signal.SIGKILL):
    """For preexec_fn: a child must not outlive us, however we end."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, sig)
    os.setpgid(0, 0)


def debian_package_file(path, package):
    if not os.path.exists(path):
        raise Fail(TOOL, f"{path} is missing; package {package} has it, `tools/setup` installs it")
    return path
