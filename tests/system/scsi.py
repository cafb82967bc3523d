# SPDX-License-Identifier: BSD-2-Clause
"""CD-ROM drives on virtio's SCSI host, as the stock kernel's virtio_scsi, sr_mod and isofs see them: ISO files in memory and
over a disk of the machine's, changed by the monitor and by the guest."""
import os
import subprocess

import guests
from harness import Case, check
from hostdisk import Machine, content, drive
from hotplug import appears, refused
from lifecycle import Host
from torture import check_report
from virtio import Linux, md5, noise


def iso(ctx, name, files):
    """An ISO 9660 file system with these files, {name: content}."""
    folder = os.path.join(ctx.dir, name + ".d")
    os.mkdir(folder)
    for file, data in files.items():
        ctx.file(os.path.join(folder, file), data)
    path = os.path.join(ctx.dir, name)
    r = subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-V", name[:1].upper(), "-r", "-J", "-o", path, folder],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    check(r.returncode == 0, f"xorriso: {r.stderr}")
    return path


class Drives(Linux):
    def __init__(self, ctx, *host, **more):
        super().__init__(ctx, *host, modules=guests.SCSI, **more)
        appears(self, "/dev/sr0")

    def holds(self, drive_name, path, files):
        """That is what is in it: all of the medium, and each file once it is mounted."""
        said = self.run(f"cat /sys/block/{drive_name}/size; md5sum </dev/{drive_name}").split()
        data = content(path)
        check(said[:2] == [str(len(data) // 512), md5(data)], f"{drive_name} holds {said}, not {path}")
        self.run(f"mkdir -p /mnt; mount -t iso9660 -o ro /dev/{drive_name} /mnt")
        said = self.run("(cd /mnt; md5sum *)").split()
        want = [w for file in sorted(files) for w in (md5(files[file]), file)]
        check(said == want, f"the files on {drive_name} are {said}, not {want}")

    def is_empty(self, drive_name):
        said = self.run(f"dd if=/dev/{drive_name} of=/dev/null count=1 2>&1 || true")
        check("No medium found" in said, f"{drive_name} is not empty: {said}")


def changed(h, v, a, b, one, two):
    """By the monitor, and the tray by the guest."""
    v.is_empty("sr1")
    v.holds("sr0", a, one)
    # It is mounted, so the driver has locked the drive.
    refused(h, "cd-eject v hdc", "its guest holds the drive locked")
    refused(h, "cd-insert v hdc b.iso", "its guest holds the drive locked")
    v.run("umount /mnt")
    for line, why in (("cd-insert v hdc none.iso", "no such file was loaded"), ("cd-eject v hdd", "hdd is empty"),
                      ("cd-eject v xvda", "it has no CD-ROM drive xvda"), ("block-detach v hdc", "is a CD-ROM drive, which stays"),
                      ("block-attach v b.iso,raw,hdz,cdrom", "CD-ROM drives come with the VM's file")):
        refused(h, line, why)
    h.do("cd-eject v hdc")
    v.is_empty("sr0")
    h.do("cd-insert v hdc cow:b.iso")
    v.holds("sr0", b, two)
    v.run("umount /mnt")
    h.do("cd-insert v hdc a.iso")  # in its place
    v.holds("sr0", a, one)
    h.do("cd-insert v hdd b.iso")
    check(v.run("md5sum </dev/sr1").split()[0] == md5(content(b)), "what is in sr1")
    rows = [line.split() for line in h.do("block-list v")[1:3]]
    check([(r[2], r[4], r[5], r[10]) for r in rows] == [("hdc", "used", "ro", "a.iso"), ("hdd", "used", "ro", "b.iso")],
          f"block-list says {rows}")
    # Out when nobody has the drive open any more, in when somebody opens it again.
    v.run("umount /mnt; cd /proc/sys/dev/cdrom; echo 0 >autoclose; echo 1 >autoeject; dd if=/dev/sr0 of=/dev/null count=1 2>/dev/null")
    v.is_empty("sr0")
    v.run("echo 0 >autoeject; echo 1 >autoclose; cd /")
    v.holds("sr0", a, one)
    h.do("cd-eject --force v hdc")  # from under what is mounted
    v.run("umount /mnt; dmesg -c >/dev/null")
    v.is_empty("sr0")


def slow(h, v, path):
    """Drives over a disk of the machine's, whose answers take their time: the medium is torn out while it is read, and put in again."""
    for name in ("sr2", "sr3"):
        check(v.run(f"md5sum </dev/{name}").split()[0] == md5(content(path)), f"what is in {name}")
    v.p.send(b"for i in 2 3; do while dd if=/dev/sr$i of=/dev/null bs=64k count=8 iflag=direct 2>/dev/null; do :; done & done; wait; "
             b"echo S''TOPPED\n")
    h.until("reads", lambda: all(int(line.split()[7]) > 20 for line in h.do("block-list v")[3:]))
    for name in ("hde", "hdf"):
        h.do(f"cd-eject -f v {name}")
    v.at = v.p.expect(rb"STOPPED", start=v.at).end()
    h.do("cd-insert v hdf host:cd")
    check(v.run("md5sum </dev/sr3").split()[0] == md5(content(path)), "what is in sr3 again")
    v.run("dmesg -c >/dev/null")


def small(*host, **more):
    """A medium, and another, where the emulator is slow."""
    def test(ctx):
        h = Host(ctx)
        one, two = ({f"f{n}": noise(70 + n, 30000)} for n in (1, 2))
        a, b = iso(ctx, "a.iso", one), iso(ctx, "b.iso", two)
        v = Drives(ctx, *host, "--control", h.path, "--file", b, disk=f"['{a},raw,hdc,cdrom']", **more)
        v.holds("sr0", a, one)
        refused(h, "cd-eject v hdc", "its guest holds the drive locked")
        v.run("umount /mnt")
        h.do("cd-insert v hdc b.iso")
        v.holds("sr0", b, two)
        v.end()
    return test


def drives(*host, size=2 << 20, cpus=1, **more):
    """One with a medium in it, one without; and two over a disk of the machine's."""
    def test(ctx):
        h = Host(ctx)
        one, two = ({f"f{n}{i}": noise(50 * n + i, size // 4 + 3000 * i) for i in range(3)} for n in (1, 2))
        a, b = iso(ctx, "a.iso", one), iso(ctx, "b.iso", two)
        disks = f"['{a},raw,hdc,cdrom', 'vdev=hdd,devtype=cdrom,target=', 'host:cd,raw,hde,cdrom', 'cow:host:cd,raw,hdf,cdrom']"
        m = Machine(ctx, drive("a", a, ",readonly=on,throttling.iops-total=2000", serial="cd"))
        v = Drives(m, *host, "--control", h.path, "--file", b, disk=disks, **more)
        changed(h, v, a, b, one, two)
        slow(h, v, a)
        v.end()
        if "torture" in more:
            check_report(v.p, cpus, 10)
    return test


def amd(cpus):
    return "--cpu", "amd", "--boot", "direct", "--host-cpus", str(cpus)


CASES = [
    Case("scsi-amd", drives(*amd(2), vcpus=2), 20, timeout=250),
    # On two host CPUs it failed once: see "Known flakes" in SUPPORT.md.
    Case("torture-scsi-amd", drives(*amd(1), vcpus=2, torture=8), 30, timeout=300),
    Case("torture-scsi-amd-on-2", drives(*amd(2), cpus=2, vcpus=2, torture=8), 30, timeout=300, soak=True),
    Case("scsi-intel", small("--cpu", "intel", "--boot", "grub", "--host-cpus", "1", memory=128), 60, timeout=500),
]
