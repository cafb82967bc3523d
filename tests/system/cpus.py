# SPDX-License-Identifier: BSD-2-Clause
"""vCPUs come and go when the monitor says so: in a guest of our own, by the registers, and in Debian's kernel, by ACPI."""
import json

from boots import BACKEND
from harness import Case, check, check_backend, check_status
from lifecycle import Host
from pci import Linux
from smp import SMP, check_guest
from torture import check_report

# A processor that has come is put online; one that goes, the kernel takes offline by itself.
ONLINE = (b"for f in /sys/devices/system/cpu/cpu*/online; do [ $(cat $f) = 1 ] || echo 1 >$f; done; "
          b"echo C$(cat /sys/devices/system/cpu/online)\n")
# Each of them runs something, and answers the others' interrupts.
WORK = (b"for i in %s; do taskset $((1 << i)) sh -c 'n=0; while [ $((n += 1)) -lt 20000 ]; do :; done; "
        b"echo R$(cut -d\\  -f39 /proc/self/stat)'; done; echo W''ORKED\n")


class Guest:
    def __init__(self, ctx, *how, **more):
        self.host = Host(ctx)
        self.linux = Linux(ctx, *how, "--control", self.host.path, vcpus=1, maxvcpus=3, **more)

    def json(self, verb):
        return json.loads(self.host.do(verb + " -j")[0])

    def wanted(self, n):
        self.host.do(f"vcpu-set v {n}")
        row = self.json("list -l v")["vms"][0]
        check((row["vcpus_wanted"], row["maxvcpus"]) == (n, 3), f"{row}")

    def comes_to(self, n):
        """Sooner or later the guest has n CPUs, and the monitor says so."""
        for _ in range(60):
            online = self.linux.ask(ONLINE, rb"^C(\S+)\r?\n").group(1)
            if online == (b"0-%d" % (n - 1) if n > 1 else b"0") and self.json("list v")["vms"][0]["vcpus"] == n:
                break
            self.linux.ask(b"sleep 1; echo S''LEPT\n", rb"^SLEPT\r?\n")
        else:
            check(False, f"{n} CPUs are wanted, online are {online}")
        self.shows(n)
        start = self.linux.at
        self.linux.ask(WORK % b" ".join(b"%d" % i for i in range(n)), rb"^WORKED\r?\n")
        ran = [s.strip() for s in self.linux.p.out[start:].splitlines() if s[:1] == b"R" and s[1:2].isdigit()]
        check(ran == [b"R%d" % i for i in range(n)], f"{ran} of {n}")

    def shows(self, n):
        rows = self.json("vcpu-list v")["vcpus"]
        check([r["state"] == "absent" for r in rows] == [i >= n for i in range(3)], f"{rows}")
        check([r["cpu"] is None for r in rows] == [i >= n for i in range(3)], f"{rows}")
        stat = self.json("stat v")
        check((stat["vcpus"], stat["maxvcpus"]) == (n, 3), f"{stat}")

    def refuses(self, n, why):
        _, wrong = self.host.ask(f"vcpu-set v {n}")
        check(wrong is not None and why in wrong, f"vcpu-set v {n}: {wrong}")


def hotplug(cpu, boot, host_cpus, counts, reset=False, **more):
    def test(ctx):
        g = Guest(ctx, "--cpu", cpu, "--boot", boot, "--host-cpus", str(host_cpus), **more)
        check_backend(g.linux.p, BACKEND[cpu], host_cpus)
        g.linux.ask(b"echo P$(cat /sys/devices/system/cpu/possible)-$(nproc)\n", rb"^P0-2-1\r?\n")
        g.shows(1)
        g.refuses(0, "no number from 1 to 3")
        g.refuses(4, "no number from 1 to 3, the maxvcpus")
        for n in counts:
            g.wanted(n)
            g.comes_to(n)
        if reset:
            g.wanted(2)
            g.host.do("reset v")
            g.linux.at = g.linux.p.expect(rb"^Linux \S+, 2 CPU", start=g.linux.at).end()
            g.linux.booted()
            g.comes_to(2)
        g.linux.end()
        if "torture" in more:
            check_report(g.linux.p, host_cpus, 10)
    return test


ROUNDS, CHECKS = 2, 33  # what the guest does, and as many checks as it makes then


def registers(cpu, boot, host_cpus, **more):
    def test(ctx):
        host = Host(ctx)
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(host_cpus), "--control", host.path, "--vm",
                    ctx.vm_file("v", f"hotplug={ROUNDS} exit=0", kernel=SMP, vcpus=1, maxvcpus=2, **more))
        check_backend(p, BACKEND[cpu], host_cpus)
        at = 0
        for _ in range(ROUNDS):
            for what, n in ((rb"plug", 2), (rb"unplug", 1)):
                at = p.expect(rb"^SMP: %s\r?\n" % what, start=at).end()
                host.do(f"vcpu-set v {n}")
        check_status(p, 1)
        check_guest(p.out, 1, CHECKS)
        if "torture" in more:
            check_report(p, host_cpus, 1)
    return test


CASES = [
    Case("vcpu-hotplug-amd", registers("amd", "direct", 2), 5, timeout=90),
    Case("vcpu-hotplug-intel", registers("intel", "grub", 1), 30, timeout=400),
    Case("torture-vcpu-hotplug", registers("amd", "direct", 2, torture=5), 10, timeout=200),
    Case("vcpu-set-linux", hotplug("amd", "direct", 2, (3, 1, 2, 3, 1), reset=True), 25, timeout=300),
    Case("torture-vcpu-set-linux", hotplug("amd", "direct", 2, (3, 1, 2), torture=23), 30, timeout=400),
    # Too long for every change.
    Case("vcpu-set-linux-intel", hotplug("intel", "grub", 1, (3, 1)), 200, timeout=1200, soak=True),
]
