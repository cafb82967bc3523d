# SPDX-License-Identifier: BSD-2-Clause
"""`demo`: UEFI, QEMU, Debian's cloud kernel, a busybox shell. Without a terminal it types for itself."""
import os
import sys

import cli
import guests
from util import USAGE, Fail, guest_file, say

SCRIPT = [b"uname -a\n", b"echo The answer is $((6*7)).\n", b"poweroff -f\n"]


class Typist:
    """Waits for a prompt, types the next line."""

    def __init__(self, lines):
        self._lines = list(lines)
        self._seen = b""
        self.finished = False

    def __call__(self, _name, data):
        self._seen = (self._seen + data)[-4096:]
        prompt = guests.PROMPT.strip().encode()
        if prompt not in self._seen or not self._lines:
            return b""
        self._seen = self._seen.rpartition(prompt)[2]
        line = self._lines.pop(0)
        self.finished = not self._lines
        return line


def demo(argv):
    if argv:
        raise Fail(USAGE, f"demo takes no options, `tools/dalang run` does: {argv[0]}")
    options = ["--kernel", guest_file("vmlinuz"), "--ramdisk", guests.initramfs(),
               "--cmdline", guests.CMDLINE, "--memory", "256", "--cpu", "auto", "--boot", "uefi"]
    if sys.stdin.isatty():
        return cli.run(options)
    say("standard input is no terminal: the demo types for itself")
    typist = Typist(SCRIPT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    status = cli.run(options + ["--timeout", "600"], watch=typist, stdin=nothing)
    if status == 0 and not typist.finished:
        say("the guest ended before its shell was reached")
        return 1
    return status
