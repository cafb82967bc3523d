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


def drives(*host, size=2 << 20, cpus=1, **more):
    """One with a medium in it, one without."""
    def test(ctx):
        h = Host(ctx)
        one, two = ({f"f{n}{i}": noise(50 * n + i, size // 4 + 3000 * i) for i in range(3)} for n in (1, 2))
        a, b = iso(ctx, "a.iso", one), iso(ctx, "b.iso", two)
        v = Drives(ctx, *host, "--control", h.path, "--file", b,
                   disk=f"['{a},raw,hdc,cdrom', 'vdev=hdd,devtype=cdrom,target=']", **more)
        v.is_empty("sr1")
        v.holds("sr0", a, one)
        # It is mounted, so the driver has locked the drive.
        refused(h, "cd-eject v hdc", "its guest holds the drive locked")
        refused(h, "cd-insert v hdc b.iso", "its guest holds the drive locked")
        v.run("umount /mnt")
        refused(h, "cd-insert v hdc none.iso", "no such file was loaded")
        refused(h, "cd-eject v hdd", "hdd is empty")
        refused(h, "cd-eject v xvda", "it has no CD-ROM drive xvda")
        refused(h, "block-detach v hdc", "is a CD-ROM drive, which stays")
        refused(h, "block-attach v b.iso,raw,hde,cdrom", "CD-ROM drives come with the VM's file")
        h.do("cd-eject v hdc")
        v.is_empty("sr0")
        h.do("cd-insert v hdc cow:b.iso")
        v.holds("sr0", b, two)
        v.run("umount /mnt")
        h.do("cd-insert v hdc a.iso")  # in its place
        v.holds("sr0", a, one)
        h.do("cd-insert v hdd b.iso")
        check(v.run("md5sum </dev/sr1").split()[0] == md5(content(b)), "what is in sr1")
        rows = [line.split() for line in h.do("block-list v")[1:]]
        check([(r[2], r[4], r[5], r[10]) for r in rows] == [("hdc", "used", "ro", "a.iso"), ("hdd", "used", "ro", "b.iso")],
              f"block-list says {rows}")
        # Its tray, by the guest: out when nobody has the drive open any more, in when somebody opens it again.
        v.run("umount /mnt; cd /proc/sys/dev/cdrom; echo 0 >autoclose; echo 1 >autoeject; dd if=/dev/sr0 of=/dev/null count=1 2>/dev/null")
        v.is_empty("sr0")
        v.run("echo 0 >autoeject; echo 1 >autoclose; cd /")
        v.holds("sr0", a, one)
        h.do("cd-eject --force v hdc")  # from under what is mounted
        v.run("umount /mnt; dmesg -c >/dev/null")
        v.is_empty("sr0")
        v.end()
        if "torture" in more:
            check_report(v.p, cpus, 10)
    return test


def slow(*host, cpus=1, **more):
    """Over a disk of the machine's, whose answers take their time: two readers, the medium torn out under them and put in again."""
    def test(ctx):
        h = Host(ctx)
        files = {f"f{i}": noise(60 + i, 1 << 20) for i in range(2)}
        a = iso(ctx, "a.iso", files)
        m = Machine(ctx, drive("a", a, ",readonly=on,throttling.iops-total=400", serial="cd"))
        v = Drives(m, *host, "--control", h.path, disk="['host:cd,raw,hdc,cdrom', 'cow:host:cd,raw,hdd,cdrom']", **more)
        v.holds("sr0", a, files)
        check(v.run("md5sum </dev/sr1").split()[0] == md5(content(a)), "what is in sr1")
        v.run("umount /mnt; echo 3 >/proc/sys/vm/drop_caches")
        v.p.send(b"for i in 0 1; do while dd if=/dev/sr$i of=/dev/null bs=64k count=8 iflag=direct 2>/dev/null; do :; done & done; wait; "
                 b"echo S''TOPPED\n")
        h.until("reads", lambda: all(int(line.split()[7]) > 10 for line in h.do("block-list v")[1:]))
        for name in ("hdc", "hdd"):
            h.do(f"cd-eject -f v {name}")
        v.at = v.p.expect(rb"STOPPED", start=v.at).end()
        h.do("cd-insert v hdd host:cd")
        v.holds("sr1", a, files)
        v.run("umount /mnt; dmesg -c >/dev/null")
        v.end()
        if "torture" in more:
            check_report(v.p, cpus, 10)
    return test


AMD = ("--cpu", "amd", "--boot", "direct", "--host-cpus", "2")
CASES = [
    Case("scsi-amd", drives(*AMD, vcpus=2), 25, timeout=200),
    Case("scsi-slow-disk-amd", slow(*AMD), 25, timeout=200),
    Case("torture-scsi-amd", drives(*AMD, cpus=2, vcpus=2, torture=8), 40, timeout=300),
    Case("scsi-intel", drives("--cpu", "intel", "--boot", "grub", "--host-cpus", "1", size=64 << 10, memory=128), 70, timeout=500),
]
