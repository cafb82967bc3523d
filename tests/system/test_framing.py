# SPDX-License-Identifier: BSD-2-Clause
"""The tool's own tests, without an emulator: framing, outcomes, sessions, packing."""
import os
import random
import re
import socket
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "dalang.d"))

import image  # noqa: E402
import session  # noqa: E402
import vmfiles  # noqa: E402
from framing import Demux, Lines, NoCsi, encode_input  # noqa: E402


def mark(body):
    return b"\x1b_d" + body + b"\x1b\\"


def merged(items):
    out = []
    for i in items:
        if out and i[0] == "data" and out[-1][:2] == i[:2]:
            out[-1] = ("data", i[1], out[-1][2] + i[2])
        else:
            out.append(i)
    return out


class Framing(unittest.TestCase):
    STREAM = (b"\x1b[2JBdsDxe: loading \x1b\x1b[0m\r\n[0.000001] up\r\n" + mark(b"!hello 0.1 svm 2")
              + mark(b"!vm-start a 2") + mark(b"2") + b"one\x1b[0mtwo\x1b" + mark(b"q") + b"_d9\x1b\\"
              + mark(b"0") + b"[1.0] log\r\n" + mark(b"3") + b"x" + mark(b"!vm-end a poweroff"))
    WANT = [("data", 0, b"\x1b[2JBdsDxe: loading \x1b\x1b[0m\r\n[0.000001] up\r\n"),
            ("event", "hello 0.1 svm 2"), ("event", "vm-start a 2"),
            ("data", 2, b"one\x1b[0mtwo\x1b_d9\x1b\\"), ("data", 0, b"[1.0] log\r\n"),
            ("data", 3, b"x"), ("event", "vm-end a poweroff")]

    def test_whole(self):
        self.assertEqual(merged(Demux().feed(self.STREAM)), self.WANT)

    def test_bytewise(self):
        d, got = Demux(), []
        for i in range(len(self.STREAM)):
            got += d.feed(self.STREAM[i:i + 1])
        self.assertEqual(merged(got), self.WANT)

    def test_any_split(self):
        rnd = random.Random(1)
        for _ in range(300):
            d, got, i = Demux(), [], 0
            while i < len(self.STREAM):
                n = rnd.randint(1, 12)
                got += d.feed(self.STREAM[i:i + n])
                i += n
            self.assertEqual(merged(got), self.WANT)

    def test_endless_mark_is_data(self):
        d = Demux()
        got = d.feed(b"\x1b_d!" + b"x" * 5000) + d.end()
        self.assertEqual(merged(got), [("data", 0, b"\x1b_d!" + b"x" * 5000)])

    def test_held_escape_comes_at_the_end(self):
        d = Demux()
        self.assertEqual(merged(d.feed(b"a\x1b") + d.end()), [("data", 0, b"a\x1b")])

    def test_cut_event_counts(self):
        d = Demux()
        self.assertEqual(d.feed(b"a" + mark(b"!host-end")[:-1]) + d.end(),
                         [("data", 0, b"a"), ("event", "host-end")])

    def test_garbage_keeps_its_bytes(self):
        rnd = random.Random(2)
        for _ in range(100):
            raw = bytes(rnd.choice(b"\x1b_da[\\0q!") for _ in range(60)).replace(b"\x1b_d", b"zzz")
            d = Demux()
            self.assertEqual(b"".join(i[2] for i in d.feed(raw) + d.end()), raw)

    def test_input(self):
        self.assertEqual(encode_input(b"a\x1d\x00"), b"a\x1d\x1d\x00")

    def test_nocsi(self):
        n = NoCsi()
        self.assertEqual(n.feed(b"a\x1b[") + n.feed(b"2;3Hb\x1bcd"), b"abd")

    def test_lines(self):
        out = []
        lines = Lines(out.append)
        lines.feed("a", b"one\ntw", 0.0)
        lines.feed("b", b"x\n", 0.1)
        lines.idle(0.2)
        lines.feed("a", b"o\n$ ", 0.25)
        lines.idle(0.9)
        lines.feed("b", b"y\n", 1.0)
        lines.feed("a", b"z\n", 1.1)
        lines.idle(2, force=True)
        self.assertEqual(b"".join(out), b"a: one\nb: x\na: two\na: $ \nb: y\na: z\n")


class Outcomes(unittest.TestCase):
    def end(self, order, *events, why="end"):
        o = session.Outcome(order)
        for e in events:
            o.event(e)
        return o.final(why)[0]

    def test_statuses(self):
        hello = "hello 0.1 svm 1"
        self.assertEqual(self.end(["a"], hello, "vm-end a poweroff", "host-end"), 0)
        self.assertEqual(self.end(["a"], hello, "vm-end a reboot", "host-end"), 0)
        for value, status in ((0, 1), (5, 11), (31, 63), (32, 63), (4294967295, 63)):
            self.assertEqual(self.end(["a"], hello, f"vm-end a exit {value}", "host-end"), status)
        self.assertEqual(self.end(["a"], hello, "vm-end a killed by a test"), 70)
        self.assertEqual(self.end(["a"], hello, "panic oh", "vm-end a poweroff"), 72)
        self.assertEqual(self.end(["a"], "refused no SVM"), 64)
        self.assertEqual(self.end(["a"], hello, why="timeout"), 124)
        self.assertEqual(self.end(["a"]), 74)
        self.assertEqual(self.end(["a"], hello), 72)
        self.assertEqual(self.end(["a"], hello, "host-end"), 74)

    def test_first_of_several(self):
        hello = "hello 0.1 svm 1"
        self.assertEqual(self.end(["a", "b"], hello, "vm-end b exit 3", "vm-end a poweroff"), 7)
        self.assertEqual(self.end(["a", "b"], hello, "vm-end b exit 3", "vm-end a exit 2"), 5)
        self.assertEqual(self.end(["a", None], hello, "vm-end a poweroff", "host-end"), 64)
        self.assertEqual(self.end([None, "a"], hello, "vm-end a exit 1", "host-end"), 64)
        self.assertEqual(self.end(["a", None], hello, "vm-end a exit 1", "host-end"), 3)
        self.assertEqual(self.end(["a", "b"], hello, "refused b: x", "vm-end a poweroff", "host-end"), 64)


class FakeEmulator:
    """Speaks the host's side from a script: bytes to send, or a function of the socket."""

    input_rate = None

    def __init__(self, script):
        self._script = script
        self.killed = False

    def acknowledge(self):
        pass

    def start(self):
        self.sock, self._host = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        for step in self._script:
            if callable(step):
                step(self._host)
            else:
                self._host.sendall(step)
        self._host.close()

    def kill(self):
        self.killed = True
        self._thread.join()

    def last_words(self):
        return ""


def run_session(script, order, keys=b"", timeout=20):
    """(status, stdout, stderr) of a session; standard error of this process is caught by fd."""
    key_r, key_w = os.pipe()
    os.write(key_w, keys)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(err.fileno(), 2)
        try:
            s = session.Session(FakeEmulator(script), order, timeout, key_r, out.fileno())
            status = s.run()
            sys.stderr.flush()
        finally:
            os.dup2(saved, 2)
            for fd in (saved, key_r, key_w):
                os.close(fd)
        out.seek(0)
        err.seek(0)
        return status, out.read(), err.read()


class Sessions(unittest.TestCase):
    START = [b"\x1b[2JUEFI noise\r\n", mark(b"!hello 0.1 svm 2"), mark(b"!vm-start a 2")]

    def test_one_vm(self):
        got = []

        def typed(host):
            while b"\n" not in b"".join(got):
                got.append(host.recv(100))

        status, out, err = run_session(
            self.START + [mark(b"2"), b"a\x00\xffb", typed, mark(b"0"), b"log\r\n",
                          mark(b"!vm-end a exit 4"), mark(b"!host-end")], ["a"], b"key\x1d\n")
        self.assertEqual((status, out), (9, b"a\x00\xffb"))
        self.assertEqual(b"".join(got), b"\x1d2;key\x1d\x1d\n")
        self.assertIn(b"UEFI noise\n", err)
        self.assertIn(b"log\n", err)
        self.assertIn(b"backend svm, 2 CPU(s)", err)
        self.assertNotIn(b"\x1b", err)

    def test_keys_wait_for_the_vm(self):
        early = []

        def listen(host):
            host.settimeout(0.5)
            try:
                early.append(host.recv(100))
            except socket.timeout:
                pass
            host.settimeout(10)

        run_session([listen] + self.START + [lambda h: early.append(h.recv(100)),
                    mark(b"!vm-end a poweroff"), mark(b"!host-end")], ["a"], b"k")
        self.assertEqual(early, [b"\x1d2;k"])

    def test_several_vms(self):
        status, out, _ = run_session(
            self.START + [mark(b"!vm-start b 3"), mark(b"2"), b"one\r\ntw", mark(b"3"), b"x\r\n", mark(b"2"),
                          b"o\r\n", mark(b"!vm-end b killed bad"), mark(b"!vm-end a poweroff"),
                          mark(b"!host-end")], ["a", "b"])
        self.assertEqual((status, out), (70, b"a: one\r\nb: x\r\na: two\r\n"))

    def test_silence_is_a_timeout(self):
        status, _, _ = run_session(self.START + [lambda h: time.sleep(1.2)], ["a"], timeout=1)
        self.assertEqual(status, 124)

    def test_panic_and_refusal_end_by_themselves(self):
        session.GRACE_PANIC = 0.3
        t = time.monotonic()
        status, _, err = run_session(self.START + [mark(b"!panic it broke"), b"trace\r\n",
                                                   lambda h: time.sleep(1)], ["a"])
        self.assertEqual(status, 72)
        self.assertIn(b"trace", err)
        status, _, err = run_session([mark(b"!refused no SVM"), lambda h: time.sleep(1)], ["a"])
        self.assertEqual(status, 64)
        self.assertIn(b"no SVM", err)
        self.assertLess(time.monotonic() - t, 10)


class VmFiles(unittest.TestCase):
    def test_quote(self):
        for s in ("plain", 'a "b" \\c', "tab\tnew\nline", "'q'"):
            self.assertEqual(vmfiles.unquote(vmfiles.quote(s)), s)

    def test_disk_target(self):
        for spec, want in (("a.img,raw,xvda,rw", "a.img"), ("format=raw,vdev=xvda,target=b,c", "b,c"),
                           ("a.img", "a.img"), ("vdev=hda, target=/x y", "/x y")):
            self.assertEqual(vmfiles.disk_target(spec), want)

    def test_rewrite(self):
        text = ('# kernel = "no"\nname = "kernel"; kernel = "/a b/k"\n'
                "ramdisk='r' # 'x'\ndisk = [ 'd.img,raw,xvda,rw',\n  \"vdev=xvdb,target=d.img\" ]\n"
                'cmdline = "disk = [ \'d.img\' ]"\n')
        got = vmfiles.rewrite(text, {("kernel", "/a b/k"): "k1", ("ramdisk", "r"): "r1", ("disk", "d.img"): "D"})
        self.assertEqual(got, '# kernel = "no"\nname = "kernel"; kernel = "k1"\n'
                         'ramdisk="r1" # \'x\'\ndisk = [ "D,raw,xvda,rw",\n  "vdev=xvdb,target=D" ]\n'
                         'cmdline = "disk = [ \'d.img\' ]"\n')

    def test_names_are_unique_without_case(self):
        p = vmfiles.Pack()
        names = [p.add_source(x) for x in ("/a/k.img", "/b/K.IMG", "/b/ü k", "/a/k.img", "/c/dalang.cfg")]
        self.assertEqual(names, ["k.img", "K-2.IMG", "__k", "k.img", "dalang-2.cfg"])
        self.assertTrue(all(re.fullmatch(r"[A-Za-z0-9._-]+", n) for n in names))


class Cpio(unittest.TestCase):
    def test_aligned_and_closed(self):
        c = image.Cpio()
        c.folder("dev")
        c.chardev("dev/console", 5, 1)
        c.file("init", b"#!x\n12")
        data = c.bytes()
        self.assertEqual(len(data) % 4, 0)
        self.assertEqual(data.count(b"070701"), 4)
        self.assertIn(b"TRAILER!!!\0", data)
        i = data.index(b"init\0") - 110
        self.assertEqual(i % 4, 0)
        self.assertEqual(int(data[i + 54:i + 62], 16), 6)


if __name__ == "__main__":
    unittest.main()
