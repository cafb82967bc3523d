# SPDX-License-Identifier: BSD-2-Clause
"""tools/dalang.d/mkguest.py: its options and what it lays over a Debian; building one is for server.py."""
import io
import os
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "dalang.d"))

import mkguest  # noqa: E402
from util import USAGE, Fail  # noqa: E402


class Options(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.out = os.path.join(self.folder.name, "o.img")

    def file(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def test_refused(self):
        for argv, why in ((("fedora", self.out), "fedora: no such guest; there is `debian`"),
                          (("debian", self.out, "--size", "0G"), "--size: 0G is not a size"),
                          (("debian", self.out, "--hostname", "-x"), "expected one argument"),
                          (("debian", self.out, "--hostname", "a_b"), "--hostname: a_b is no host's name"),
                          (("debian", self.out, "--packages", "vim,a b"), "--packages: a b is no package's name"),
                          (("debian", self.out, "--password", "a\nb"), "--password: it has a line's end"),
                          (("debian", "/nowhere/o.img"), "there is no folder /nowhere"),
                          (("debian", self.folder.name), "is not a plain file"),
                          (("debian", self.out, "--ssh-key", "/nothing"), "--ssh-key: cannot read /nothing"),
                          (("debian", self.out, "--ssh-key", self.file("p", "-----BEGIN OPENSSH PRIVATE KEY-----\n")),
                           "private key"),
                          (("debian", self.out, "--ssh-key", self.file("q", "hello\n")), "no public key: hello")):
            with self.assertRaises(Fail) as e:
                mkguest.parse(list(argv))
            self.assertEqual(e.exception.status, USAGE)
            self.assertIn(why, str(e.exception))

    def test_overlay(self):
        key = self.file("k.pub", "ssh-ed25519 AAAA me\n")
        opts = mkguest.parse(["debian", self.out, "--hostname", "web-1", "--ssh-key", key, "--size", "2G",
                              "--packages", "vim,less"])
        self.assertEqual((opts.size, opts.packages), (2 << 30, ["vim", "less"]))
        with tarfile.open(fileobj=io.BytesIO(mkguest.overlay(opts, 1000))) as tar:
            for m in tar:
                self.assertEqual((m.uid, m.gid, m.mtime), (0, 0, 1000), m.name)
                bits = 0o700 if m.name.startswith("root") else 0o755
                self.assertEqual(m.mode, bits if m.isdir() else bits & 0o644)
            self.assertEqual(tar.extractfile("root/.ssh/authorized_keys").read(), b"ssh-ed25519 AAAA me\n")
            self.assertEqual(tar.extractfile("etc/hostname").read(), b"web-1\n")
            self.assertIn(b"virtio_blk", tar.extractfile("etc/tiny-initramfs/tiny-initramfs.conf").read())
        self.assertEqual(mkguest.overlay(opts, 1000), mkguest.overlay(opts, 1000))

    def test_inputs(self):
        a, b, c = (mkguest.inputs(mkguest.parse(["debian", self.out, *w])) for w in ((), (), ("--hostname", "b")))
        self.assertEqual(a, b)
        self.assertNotEqual(a, c)


if __name__ == "__main__":
    unittest.main()
