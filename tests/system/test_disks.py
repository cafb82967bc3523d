# SPDX-License-Identifier: BSD-2-Clause
"""tools/dalang.d/disks.py: what the options mean, which images are taken, when a copy is made anew."""
import os
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "dalang.d"))

import disks  # noqa: E402
from util import USAGE, Fail  # noqa: E402


def qemu_img(*argv):
    subprocess.run(["qemu-img", *argv], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class InFolder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder.name)
        for m in (mock.patch.object(disks, "BUILD", os.path.join(self.folder.name, "b")), mock.patch.object(disks, "say")):
            m.start()
            self.addCleanup(m.stop)
        self.write("a.img", b"a" * 4096)

    @staticmethod
    def write(name, data):
        with open(name, "wb") as f:
            f.write(data)
        return name

    def refused(self, words, call, *args):
        with self.assertRaises(Fail) as e:
            call(*args)
        self.assertEqual(e.exception.status, USAGE)
        self.assertIn(words, str(e.exception))


class Options(InFolder):
    def test_prefixes(self):
        for text, default, want in (("a.img", "ram:", "ram:"), ("a.img", "host:", "host:"), ("ram:a.img", "host:", "ram:"),
                                    ("cow:a.img", "host:", "cow:ram:"), ("cow:ram:a.img", "ram:", "cow:ram:"),
                                    ("cow:host:a.img", "ram:", "cow:host:"), ("host:a.img", "ram:", "host:")):
            d = disks.parse("--disk", text, default)
            self.assertEqual((d.prefix, d.path), (want, "a.img"))
            self.assertEqual(d.on_host, "host:" in want)

    def test_words(self):
        self.write("a,ro", b"x" * 512)
        d = disks.parse("--disk", "a,ro", "ram:")
        self.assertEqual((d.path, d.readonly), ("a,ro", False))
        d = disks.parse("--disk", "a,ro,ro,serial=s1,iops=5,format=raw", "ram:")
        self.assertEqual((d.path, d.readonly, d.words, d.format), ("a,ro", True, ["serial=s1", "iops=5"], "raw"))
        self.assertEqual(disks.vm_spec(d, 1, disks.HostDisks()),
                         f"format=raw,vdev=xvdb,access=ro,serial=s1,iops=5,target=ram:{os.path.abspath('a,ro')}")
        for word in ("cdrom", "devtype=cdrom"):
            self.assertEqual(disks.vm_spec(disks.parse("--disk", f"cow:a.img,{word}", "ram:"), 2, disks.HostDisks()),
                             f"format=raw,vdev=hdc,devtype=cdrom,target=cow:ram:{os.path.abspath('a.img')}")
        self.refused("format=vhd is no option", disks.parse, "--disk", "a.img,format=vhd", "ram:")
        self.refused("names no file", disks.parse, "--disk", "cow:ram:", "ram:")

    def test_files(self):
        for name, why in ((".", "is not a plain file"), ("none", "does not exist"), (self.write("e", b""), "is empty")):
            self.refused(why, disks.raw_file, disks.parse("--disk", name, "ram:"))

    def test_machine(self):
        self.write("b,c.img", b"b" * 512)
        host = disks.HostDisks()
        spec = disks.vm_spec(disks.parse("--disk", "cow:host:a.img", "ram:"), 0, host)
        self.assertEqual(spec, "format=raw,vdev=xvda,access=rw,target=cow:host:disk0")
        self.assertEqual(host.add(disks.parse("--host-disk", "b,c.img,ro", "host:")), "disk1")
        argv = " ".join(host.argv())
        self.assertIn("readonly=on,file=" + os.path.abspath("b,,c.img"), argv)
        self.assertIn("virtio-blk-pci,drive=disk1,serial=disk1", argv)
        os.symlink("a.img", "again")
        self.refused("is a disk of the machine's already", host.add, disks.parse("--host-disk", "again", "host:"))

    def test_nic(self):
        argv = disks.nic_argv(["user,hostfwd=tcp::8080-:80", "tap,ifname=t0,mac=52:54:00:00:00:09"])
        self.assertEqual(argv[1], "user,id=nic0,hostfwd=tcp::8080-:80")
        self.assertIn("mac=52:54:00:da:1a:00", argv[3])
        self.assertEqual(argv[5], "tap,id=nic1,ifname=t0,script=no,downscript=no")
        self.assertIn("mac=52:54:00:00:00:09", argv[7])
        for text, why in (("bridge", "no kind of network"), ("user,id=x", "not yours"),
                          ("user,mac=53:54:00:00:00:01", "no card's address")):
            self.refused(why, disks.nic_argv, [text])


class Images(InFolder):
    def raw(self, text, default="ram:"):
        return disks.raw_file(disks.parse("--disk", text, default))

    def same(self, text):
        with open(self.raw(text), "rb") as f:
            self.assertEqual(f.read(), b"a" * 4096)

    def test_converted_and_kept(self):
        for kind in ("qcow2", "vmdk"):
            qemu_img("convert", "-O", kind, "a.img", "x." + kind)
            made = self.raw("x." + kind)
            self.same("x." + kind)
            os.utime(made, ns=(1, 1))
            self.assertEqual(os.stat(self.raw("x." + kind)).st_mtime_ns, 1, "converted though nothing had changed")
            os.utime("x." + kind, ns=(5, 5))
            self.assertNotEqual(os.stat(self.raw("x." + kind)).st_mtime_ns, 1, "not converted though it had changed")

    def test_content_alone_decides_nothing(self):
        qemu_img("convert", "-O", "qcow2", "a.img", "guest.img")
        self.refused("looks like qcow2, its name does not", self.raw, "guest.img")
        self.assertEqual(self.raw("guest.img,format=raw"), os.path.abspath("guest.img"))
        self.same("guest.img,format=qcow2")
        os.rename("a.img", "raw.qcow2")
        self.refused("is to be qcow2, but looks like a raw disk", self.raw, "raw.qcow2")
        self.refused("is to be vmdk, but looks like qcow2", self.raw, "guest.img,format=vmdk")
        self.write("d.vmdk", b"# Disk DescriptorFile\n" + b"\0" * 512)
        self.refused("is to be vmdk", self.raw, "d.vmdk")
        self.write("d.img", b"# Disk DescriptorFile\n" + b"\0" * 512)
        self.refused("looks like a VMware descriptor", self.raw, "d.img")

    def test_other_files_are_not_followed(self):
        with mock.patch.object(disks, "_qemu_img", side_effect=AssertionError("qemu-img was asked")):
            qemu_img("create", "-q", "-f", "qcow2", "-b", os.path.abspath("a.img"), "-F", "raw", "child.qcow2")
            self.refused("has a backing file", self.raw, "child.qcow2")
            qemu_img("create", "-q", "-f", "qcow2", "-o", "data_file=" + os.path.abspath("data"), "out.qcow2", "4096")
            self.refused("has its data in another file", self.raw, "out.qcow2")
            for sub in ("twoGbMaxExtentSparse", "monolithicFlat"):
                qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=" + sub, "s.vmdk", "4096")
                self.refused("is to be vmdk, but looks like", self.raw, "s.vmdk")
            qemu_img("convert", "-O", "vmdk", "a.img", "p.vmdk")
            qemu_img("create", "-q", "-f", "vmdk", "-b", "p.vmdk", "-F", "vmdk", "c.vmdk")
            self.refused("is the child of another image", self.raw, "c.vmdk")
            with open("p.vmdk", "r+b") as f:
                f.seek(12)
                f.write(bytes(8))
            self.refused("is not one sparse file", self.raw, "p.vmdk")
            self.refused("ends in its header", self.raw, self.write("short.vmdk", b"KDMV"))

    def test_broken(self):
        qemu_img("convert", "-O", "qcow2", "a.img", "x.qcow2")
        os.truncate("x.qcow2", 100)
        self.refused("is refused by qemu-img", self.raw, "x.qcow2")
        self.refused("is refused by qemu-img", self.raw, self.write("t.qcow2", b"QFI\xfb\0\0"))


if __name__ == "__main__":
    unittest.main()
