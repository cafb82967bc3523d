# SPDX-License-Identifier: BSD-2-Clause
"""The stock guest: the kernel of Debian's linux-image-cloud-amd64 with busybox for its userland."""
import base64
import os
import tempfile
from pathlib import PurePosixPath

from image import Cpio
from util import BUILD, built, guest_file

PROMPT = "dalang-guest# "

# What a kernel says when time or another CPU does not behave.
COMPLAINTS = "rcu.*stall|soft lockup|hard lockup|blocked for more|clocksource.*(unstable|skew)|not responding|BUG:|Oops|Call Trace|WARNING: CPU"

INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
for m in $(cat /modules/order 2>/dev/null); do insmod /modules/$m.ko; done
hostname guest
echo
echo "Linux $(uname -r), $(nproc) CPU(s), $(awk '/MemTotal/ {{print $2}}' /proc/meminfo) KiB of memory."
case " $(cat /proc/cmdline) " in
*" kexec "*)
	# For tests: into the same kernel once more, which is to check.
	exec kexec /boot/vmlinuz /boot/initrd "$(sed 's/kexec/check/' /proc/cmdline)"
	;;
*" check "*)
	# For tests that type nothing: what the kernel thought of its machine, and the end.
	clock=/sys/devices/system/clocksource/clocksource0/current_clocksource
	echo "CHECK cpus=$(nproc) clock=$(cat $clock) complaints=$(dmesg | grep -ciE '{COMPLAINTS}')"
	dmesg | grep -iE '{COMPLAINTS}'
	poweroff -f ;;
*" restart "*) reboot -f ;;
*" do="*)
	# For tests with several guests, of which one is typed to: a script, in base64.
	sed 's/.* do=\\([^ ]*\\).*/\\1/' /proc/cmdline | base64 -d >/do
	. /do ;;
esac
echo "A busybox shell; 'poweroff -f' ends it."
export PS1='{PROMPT}' HOME=/ TERM=vt100 PATH=/bin:/sbin:/usr/bin:/usr/sbin
while :; do setsid cttyhack sh </dev/ttyS0 >/dev/ttyS0 2>&1; done
"""

# quiet: on an emulated 115200 baud line the kernel's messages cost more time than its work.
CMDLINE = "console=ttyS0,115200 quiet panic=-1"


def initramfs():
    """build/guest/initramfs.cpio: a shell, or what words of the command line ask for."""
    return _write("initramfs.cpio", {"bin/busybox": guest_file("busybox")})


# What must be loaded before it, for each driver; in this order.
VIRTIO = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_mmio")
NET = ("failover", "net_failover", "virtio_net")
SCSI = ("scsi_common", "scsi_mod", "virtio_scsi", "cdrom", "sr_mod", "isofs")
VSOCK = ("vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport")


def do(script):
    """The word of a command line that has INIT run a script."""
    return "do=" + base64.b64encode(script.encode()).decode()


def module_initramfs(name, *modules, programs=(), files=None):
    """build/guest/NAME.cpio: initramfs() that loads virtio's transports and these modules of the stock kernel first, with programs
    of tests/guests/ and other files ({name in the guest: source})."""
    modules = VIRTIO + modules
    return _write(name + ".cpio", {"bin/busybox": guest_file("busybox"),
                                   **{f"bin/{p}": built(f"tests/guests/{p}") for p in programs}, **(files or {}),
                                   **{f"modules/{m}.ko": guest_file(f"modules/{m}.ko") for m in modules}},
                  {"modules/order": "\n".join(modules) + "\n"})


def kexec_initramfs():
    """build/guest/kexec.cpio: with the word `kexec` it starts the cloud kernel from within, on initramfs()."""
    return _write("kexec.cpio", {"bin/busybox": guest_file("busybox"), "bin/kexec": built("tests/guests/kexec"),
                                 "boot/vmlinuz": guest_file("vmlinuz"), "boot/initrd": initramfs()})


def _write(name, files, texts=None):
    """files: {name: source}; texts: {name: content}. Written again when this file or one of the files is newer."""
    path = os.path.join(BUILD, "guest", name)
    newest = max(os.path.getmtime(f) for f in (*files.values(), __file__))
    if os.path.exists(path) and os.path.getmtime(path) >= newest:
        return path
    c = Cpio()
    folders = {str(p) for f in files for p in PurePosixPath(f).parents if str(p) != "."}
    for d in sorted(folders | {"bin", "boot", "dev", "modules", "proc", "sys"}):
        c.folder(d)
    c.chardev("dev/console", 5, 1)
    for to, source in files.items():
        with open(source, "rb") as f:
            c.file(to, f.read())
    for to, text in (texts or {}).items():
        c.file(to, text.encode())
    c.link("bin/sh", "busybox")
    c.file("init", INIT.encode())
    # Tests run in threads of one process, too: a name of its own for each writer.
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as f:
        f.write(c.bytes())
    os.replace(f.name, path)
    return path
