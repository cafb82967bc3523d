# SPDX-License-Identifier: BSD-2-Clause
"""`run`: from the command line to an exit status."""
import argparse
import os
import shutil
import signal
import tempfile

import control
import disks
import emulator
import gdb
import machine
from session import Session
from util import BUILD, USAGE, Fail, say
from vmfiles import Pack, write_vm_file

DISK_IS = "ram:"  # what `--disk FILE` means
ONE_VM = ("kernel", "ramdisk", "cmdline", "vcpus", "memory", "disk", "debug_exit")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Fail(USAGE, f"{message}; `tools/dalang help` lists the options")


def _positive(text):
    n = int(text) if text.isdigit() else 0
    if n < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1")
    return n


def _seconds(text):
    try:
        n = float(text)
    except ValueError:
        n = 0
    if not 0 < n < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return n


def parse(argv):
    p = Parser(prog="tools/dalang run", add_help=False, allow_abbrev=False)
    p.add_argument("--vm", action="append", default=[], metavar="FILE.cfg")
    p.add_argument("--kernel")
    p.add_argument("--ramdisk")
    p.add_argument("--cmdline")
    p.add_argument("--vcpus", type=_positive)
    p.add_argument("--memory", type=_positive)
    p.add_argument("--disk", action="append", default=[])
    p.add_argument("--file", action="append", default=[])
    p.add_argument("--debug-exit", action="store_true")
    p.add_argument("--host-disk", action="append", default=[])
    p.add_argument("--nic", action="append", default=[])
    p.add_argument("--cpu", choices=("auto", "amd", "intel"), default="auto")
    p.add_argument("--boot", choices=("uefi", "grub", "direct"), default="uefi")
    p.add_argument("--host-cpus", type=_positive)
    p.add_argument("--host-memory", type=_positive)
    p.add_argument("--icount", action="store_true")
    p.add_argument("--timeout", type=_seconds)
    p.add_argument("--control", metavar="SOCKET")
    p.add_argument("--pcap", metavar="FILE")
    p.add_argument("--gdb", action="append", default=[], metavar="[VM:]PORT[,nowait]")
    opts = p.parse_args(argv)
    opts.gdb = gdb.parse(opts.gdb)
    given = ["--" + k.replace("_", "-") for k in ONE_VM if getattr(opts, k) not in (None, [], False)]
    if opts.vm and given:
        raise Fail(USAGE, f"{given[0]} describes the VM that has no file; with --vm put it into the file")
    if not opts.vm and opts.kernel is None:
        raise Fail(USAGE, "no VM: give --vm FILE.cfg or --kernel FILE")
    return opts


def _stop(signum, _frame):
    raise SystemExit(128 + signum)  # emulator and work folder go on the way out


def run(argv, watch=None, stdin=None, stdout=None):
    opts = parse(argv)
    for s in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, _stop)
    os.makedirs(BUILD, exist_ok=True)
    work = tempfile.mkdtemp(prefix="run-", dir=BUILD)
    try:
        return _run(opts, work, watch, stdin, stdout)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _disks(opts, chosen):
    """(strings for the VM's file, QEMU's options): --disk, --host-disk and --nic."""
    host = disks.HostDisks()
    given = [disks.parse("--disk", d, "ram:" if chosen.kind == "bochs" else DISK_IS) for d in opts.disk]
    of_host = [disks.parse("--host-disk", d, "host:") for d in opts.host_disk]
    if chosen.kind == "bochs":
        bad = next((f"{d.option}: {d.path}" for d in given + of_host if d.on_host), None)
        if bad or opts.nic:
            raise Fail(USAGE, f"{bad or '--nic: ' + opts.nic[0]}: Bochs, which is VT-x without nested KVM, has no virtio; "
                              + ("write ram: or cow: before the file's name" if bad else "use --cpu amd"))
    odd = next((d for d in of_host if d.prefix != "host:" or d.words), None)
    if odd:
        raise Fail(USAGE, f"--host-disk: {odd.path}: it is the machine's, without ram:, cow:, " + "=, ".join(disks.FOR_THE_VM)
                   + "=; write those into the VM's file")
    specs = [disks.vm_spec(d, i, host) for i, d in enumerate(given)]
    for d in of_host:
        host.add(d)
    return specs, host.argv() + disks.nic_argv(opts.nic)


def _run(opts, work, watch, stdin, stdout):
    chosen = machine.pick(opts)
    specs, devices = _disks(opts, chosen)
    pack = Pack()
    vm_files = list(opts.vm)
    if not vm_files:
        vm_files = [os.path.join(work, "guest.cfg")]
        with open(vm_files[0], "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write(write_vm_file(opts, specs))
        pack.from_options = vm_files[0]
    for path in vm_files:
        pack.add_vm(path)
    pack.add_files(opts.file)
    if not pack.running():
        if len(pack.vms) > 1:
            say("no VM is left to start")
        return USAGE
    for vm, _, waits in opts.gdb:
        pack.debug(vm, waits)
    files = pack.finish(mirror=opts.pcap is not None)
    cpus, memory = machine.size(opts, chosen, pack)
    say(f"{chosen.describe()}; boot by {opts.boot}; {cpus} host CPU(s), {memory} MiB")
    emu = emulator.make(chosen, opts.boot, cpus, memory, files, work, opts.icount, devices)
    order = [None if v.refused else v.name for v in pack.vms]
    return Session(emu, order, opts.timeout, stdin, stdout, watch, opts.control or control.default_path(),
                   opts.gdb, opts.pcap).run()
