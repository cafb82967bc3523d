# SPDX-License-Identifier: BSD-2-Clause
"""Bad input: one clear line, status 64, nothing half-started, and the other VMs run."""
import os

from harness import TINY, Case, check, check_status
from util import guest_file

FAST = ("--cpu", "amd", "--boot", "direct", "--host-cpus", "1")


def refused(ctx, pattern, *options, env=None, host=False):
    """The run ends with 64 and says why; no guest ran. host: the hypervisor itself refuses."""
    p = ctx.run(*options, env=env)
    check_status(p, 64)
    p.expect(pattern, "err")
    check(p.out == b"", "something ran")
    lines = [s for s in p.err.splitlines() if b"panic" in s]
    check(not lines, f"a panic: {lines}")
    check(host == (b"boot by" in p.err), "an emulator was started for nothing" if not host else "it did not start")


def usage(ctx):
    for options, pattern in (
            ((), rb"no VM: give"), (("--kernel",), rb"expected one argument"),
            (("--kernel", TINY, "--vm", "x"), rb"--kernel describes"), (("--nonsense",), rb"unrecognized"),
            (("--kernel", TINY, "--vcpus", "0"), rb"not a number from 1"),
            (("--kernel", TINY, "--cpu", "intel", "--icount"), rb"no VMX"),
            (("--kernel", TINY, "--icount", "--host-cpus", "2"), rb"one host CPU"),
            (("--kernel", TINY, "--cpu", "intel", "--boot", "direct"), rb"direct needs QEMU")):
        p = ctx.program([os.path.join(os.path.dirname(TINY), "../../../tools/dalang"), "run", *options])
        check_status(p, 64)
        p.expect(pattern, "err")
        check(p.err.count(b"\n") == 1, f"more than one line for {options}: {p.err!r}")


def options(ctx):
    """What is wrong with an option's value is said in one line that names the option."""
    ctx.file("big", b"")
    os.truncate(os.path.join(ctx.dir, "big"), 1 << 32)
    for words, pattern in (
            (("--memory", "1"), rb"^dalang: --memory: memory = 1 is out of range; 16 to"),
            (("--vcpus", "65"), rb"^dalang: --vcpus: vcpus = 65 is out of range; 1 to 64"),
            (("--cmdline", "x" * 5000), rb"^dalang: --cmdline: .*5000 bytes; at most"),
            (("--cmdline", "a\nb"), rb"^dalang: --cmdline: .*0x0a; leave it out"),
            (("--file", "nowhere"), rb"^dalang: --file: nowhere: no such file"),
            (("--ramdisk", ""), rb"^dalang: --ramdisk: .* is empty"),
            (("--ramdisk", "big"), rb"^dalang: --ramdisk: .*big has 4096 MiB, the VM 256"),
            (("--disk", "big"), rb"^dalang: the VMs' files have 4096 MiB; --boot direct loads"),
            (("--memory", "4000000"), rb"^dalang: the host would need \d+ MiB .* this machine has")):
        p = ctx.run(*FAST, "--kernel", TINY, *words)
        check_status(p, 64)
        p.expect(pattern, "err")
        check(p.err.count(b"\n") == 1, f"more than one line for {words}: {p.err[:400]!r}")


def missing_file(ctx):
    refused(ctx, rb"kernel: no such file: .*/nothing", *FAST, "--kernel", "/nothing")
    refused(ctx, rb"^nothing.cfg: error: cannot read", *FAST, "--vm", "nothing.cfg")
    refused(ctx, rb"ramdisk: no such file", *FAST, "--kernel", TINY, "--ramdisk", "/nothing")


def unreadable_file(ctx):
    refused(ctx, rb"kernel: .* is not a plain file", *FAST, "--kernel", ctx.dir)
    os.mkfifo(os.path.join(ctx.dir, "pipe"))
    refused(ctx, rb"^pipe: error: cannot read this VM file: not a plain file", *FAST, "--vm", "pipe")
    if os.getuid():  # root reads everything
        os.chmod(ctx.file("secret", b"x"), 0)
        refused(ctx, rb"kernel: cannot read .*secret", *FAST, "--kernel", os.path.join(ctx.dir, "secret"))


def config_error(ctx):
    for text, place in (('name = "a"\nkernel = \n', rb"2:\d+"), ('name = "a"\nmemory = "lots"\n', rb"2:\d+"),
                        ('name = "a"\nkernal = "x"\n', rb"2:1"), ('name = "a\n', rb"1:\d+")):
        ctx.file("bad.cfg", text)
        refused(ctx, rb"^bad.cfg:" + place + rb": error: ", *FAST, "--vm", "bad.cfg")
    ctx.file("nul.cfg", b'name = "a"\0\n')
    refused(ctx, rb"^nul.cfg:1:11: error: byte 0x00", *FAST, "--vm", "nul.cfg")


def empty_disk(ctx):
    ctx.file("empty.img", b"")
    refused(ctx, rb"disk: .*empty.img is empty", *FAST, "--kernel", TINY, "--disk", "empty.img")


def one_name(ctx):
    """The first one runs, the second is refused."""
    ctx.vm_file("a", "exit=1")
    with open(os.path.join(ctx.dir, "a.cfg"), encoding="ascii") as f:
        ctx.file("b.cfg", f.read())
    p = ctx.run(*FAST, "--vm", "a.cfg", "--vm", "b.cfg")
    check_status(p, 3)
    p.expect(rb'^b.cfg: error: name = "a" is taken by a.cfg', "err")
    check(b"a: TINY: ready" in p.out, "the first VM did not run")


def others_start(ctx):
    """One VM file is refused here, one by the hypervisor; the third runs to its end."""
    ctx.vm_file("a", "exit=1", kernel="/nothing")
    ctx.file("text", b"this is no kernel\n" * 1000)
    ctx.vm_file("b", "exit=2", kernel="text")
    ctx.vm_file("c", "exit=3")
    p = ctx.run(*FAST, "--vm", "a.cfg", "--vm", "b.cfg", "--vm", "c.cfg")
    check_status(p, 64)
    p.expect(rb"^dalang: refused: .*text", "err")
    check(b"c: TINY: ready" in p.out and b"VM c: ended, debug exit, value 3" in p.err, "VM c did not run")


def foreign_kernel(ctx):
    arm = bytearray(64)
    arm[:20] = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\xb7\0"
    for name, content, said in (("text", b"this is no kernel\n" * 1000, rb"is no kernel .*give a bzImage"),
                                ("three", b"abc", rb"is no kernel \(3 bytes"),
                                ("gz", b"\x1f\x8b" + bytes(600), rb"is a gzip file; unpack it"),
                                ("arm", bytes(arm), rb"for another machine .*machine 183")):
        ctx.file(name, content)
        refused(ctx, rb'^dalang: refused: guest: kernel "' + name.encode() + rb'": .*' + said, *FAST, "--kernel", name,
                host=True)


def truncated_kernel(ctx):
    with open(guest_file("vmlinuz"), "rb") as f:
        ctx.file("half", f.read(300000))
    refused(ctx, rb"refused: .*half", *FAST, "--kernel", "half", host=True)
    with open(TINY, "rb") as f:
        ctx.file("tiny", f.read(6000))
    refused(ctx, rb"refused: .*tiny", *FAST, "--kernel", "tiny", host=True)


def too_little_memory(ctx):
    refused(ctx, rb"refused: .*([Mm]emory|MiB)", *FAST, "--kernel", TINY, "--memory", "600", "--host-memory", "512",
            host=True)


def no_svm(ctx):
    refused(ctx, rb"refused: .*(SVM|AMD-V)", *FAST, "--kernel", TINY, host=True, env={"DALANG_TEST_CPU": "EPYC,-svm"})


def no_npt(ctx):
    refused(ctx, rb"refused: .*([Nn]ested paging|NPT)", *FAST, "--kernel", TINY, host=True,
            env={"DALANG_TEST_CPU": "EPYC,+svm,-npt"})


def no_ept(ctx):
    """VMX of an age before EPT: the control that is missing is named."""
    refused(ctx, rb"refused: .*(EPT|secondary|unrestricted)", "--cpu", "intel", "--boot", "grub", "--kernel", TINY,
            host=True, env={"DALANG_TEST_CPU": "core2_penryn_t9600"})


CASES = [
    Case("bad-usage", usage, seconds=4, memory=100),
    Case("bad-options", options, seconds=4, memory=100),
    Case("bad-missing-file", missing_file, seconds=3, memory=100),
    Case("bad-unreadable-file", unreadable_file, seconds=3, memory=100),
    Case("bad-config", config_error, seconds=3, memory=100),
    Case("bad-empty-disk", empty_disk, seconds=2, memory=100),
    Case("bad-two-of-one-name", one_name, seconds=8),
    Case("bad-one-of-three", others_start, seconds=10),
    Case("bad-foreign-kernel", foreign_kernel, seconds=6),
    Case("bad-truncated-kernel", truncated_kernel, seconds=10),
    Case("bad-too-little-memory", too_little_memory, seconds=6),
    Case("bad-no-svm", no_svm, seconds=6),
    Case("bad-no-npt", no_npt, seconds=6),
    Case("bad-no-ept", no_ept, seconds=25),
]
