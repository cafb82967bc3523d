# SPDX-License-Identifier: BSD-2-Clause
"""The monitor's verbs against a running host: in text and in JSON, compared with what is known of its VMs."""
import json
import os
import re
import socket

from boots import BACKEND
from harness import ROOT, Case, check, check_backend, check_status
from lifecycle import SMP, Host

HOLE = 1 << 10  # KiB of RAM that the PC's hole below 1 MiB may take


class Monitor(Host):
    def json(self, line):
        lines = self.do(line + " -j")
        check(len(lines) == 1, f"{line} -j answers {len(lines)} lines")
        return json.loads(lines[0])

    def table(self, line, key):
        """Rows by JSON; the text has as many, below its titles, and each holds its row's name."""
        rows, text = self.json(line)[key], self.do(line)
        check(len(text) == len(rows) + 1, f"{line}: {len(rows)} rows in JSON, {len(text)} lines of text")
        for row, said in zip(rows, text[1:]):
            check("name" not in row or said.startswith(row["name"] + " "), f"{line}: {row} is said as {said}")
        return rows

    def refuses(self, line, why):
        lines, wrong = self.ask(line)
        check(wrong is not None and why in wrong, f"{line}: {lines} {wrong}")
        lines, wrong = self.ask(line + " -j")
        check(why in json.loads(lines[0])["error"] and wrong is not None, f"{line} -j: {lines} {wrong}")

    def grows(self, what, number, by=1):
        first = number()
        self.until(f"{what} grows from {first} by {by}", lambda: number() >= first + by)


def vms_of(ctx, n, storm_vcpus):
    """One that types, one that sends itself interrupts; if there are more, one that spins, and idle ones:
    {name: (memory, vCPUs, weight)}"""
    known = {"typed": (64, 1, 100), "storm": (64, storm_vcpus, 512)}
    if n > 2:
        known["spin"] = (32, 1, 256)
    known.update({f"idle{i}": (32, 1, 256) for i in range(n - 3)})
    files = []
    for name, (memory, vcpus, weight) in known.items():
        more = {"memory": memory, "vcpus": vcpus, "cpu_weight": weight}
        if name == "storm":
            words, more = "ipistorm=1000000000", {**more, **SMP}
        else:
            words = {"typed": "echo poweroff", "spin": "spin"}.get(name, "hlt")
        files += ["--vm", ctx.vm_file(name, words, **more)]
    return known, files


def lists(m, known, cpus, cpu):
    rows = m.table("list", "vms")
    check({r["name"]: (r["memory"], r["vcpus"]) for r in rows} == {k: v[:2] for k, v in known.items()}, f"{rows}")
    check([r["id"] for r in rows] == list(range(1, len(known) + 1)), f"{rows}")
    check({r["state"] for r in rows} <= {"r-----", "-b----"}, f"{rows}")
    check(m.json("list 2")["vms"][0]["name"] == "storm", "an id names no VM")
    long = m.json("list -l typed")["vms"][0]
    check((long["cpu_weight"], long["file"], long["cmdline"]) == (100, "typed.cfg", "echo poweroff"), f"{long}")
    check(m.do("list -l typed")[0].split() == ["name", ":", "typed"], "list -l in text")
    info = m.json("info")
    check((info["nr_cpus"], info["backend"], info["nr_vms"]) == (cpus, BACKEND[cpu], len(known)), f"{info}")
    check(0 < info["free_memory"] < info["total_memory"] and info["cpu_mhz"] > 1, f"{info}")
    check([x.split(" : ")[0].strip() for x in m.do("info")] == list(info), "info's text and JSON differ")
    m.grows("the host's uptime", lambda: m.json("info")["uptime"])
    check(len(m.table("uptime", "vms")) == len(known), "uptime")
    mem = m.json("mem")
    check(mem["pools"][0]["total_kib"] == info["own_memory_kib"], f"{mem}")


def schedules(m, known, cpus):
    rows = m.table("sched", "vms")
    check({r["name"]: r["cpu_weight"] for r in rows} == {k: v[2] for k, v in known.items()}, f"{rows}")
    m.do("sched -d storm -w 300 -c 150")
    check([(r["cpu_weight"], r["cap"]) for r in m.json("sched -d storm")["vms"]] == [(300, 150)], "sched did not set it")
    m.do("sched -d storm -c 0")
    m.refuses("sched -d storm -w 70000", "no weight")
    rows = m.table("vcpu-list", "vcpus")
    check(len(rows) == sum(v[1] for v in known.values()), f"{rows}")
    check({r["affinity"] for r in rows} == {"all"} and {r["cpu"] for r in rows} <= {None, *range(cpus)}, f"{rows}")
    for target in [*range(cpus), 0]:
        m.do(f"vcpu-pin storm 0 {target}")
        m.until(f"storm's vCPU 0 runs on CPU {target}",
                lambda t=target: m.json("vcpu-list storm")["vcpus"][0]["cpu"] == t)
    check([r["affinity"] for r in m.json("vcpu-list storm")["vcpus"]][:2] == ["0" if cpus > 1 else "all", "all"], "pinned")
    m.do("vcpu-pin storm all all")
    m.refuses("vcpu-pin storm 0 99", "none of these")
    m.refuses("vcpu-set storm 33", "33 is no number from 1 to")
    m.refuses("mem-set storm 9", "balloon")
    m.do("top")
    rows = {r["name"]: r for r in m.json("top -d 1")["vms"]}
    check(rows["typed"]["cpu"] > 10 and rows["typed"]["interval"] >= 1, f"{rows}")  # it asks COM1 without end
    check("idle0" not in rows or rows["idle0"]["cpu"] < 10, f"{rows}")
    check(all(r["cpu"] <= 100 * r["vcpus"] + 1 for r in rows.values()), f"more than all: {rows}")
    check(len(m.do("top storm")) == 2, "top of one VM")


def statistics(m, known):
    for name, (memory, _, _) in known.items():
        s = m.json("stat " + name)
        pages = s["pages_4k"] * 4 + (s["pages_2m"] << 11) + (s["pages_1g"] << 20)
        check(memory * 1024 - HOLE <= pages <= memory * 1024, f"{name}: {pages} KiB are mapped: {s}")
        check(s["exits_total"] == sum(e["count"] for e in s["exits"]) > 0 and not s["timing"], f"{s}")
        check(all(e["mean_ticks"] is None for e in s["exits"]), f"timed by itself: {s}")
    text = m.do("stat storm")
    check(any(x.startswith("HLT ") or x.startswith("port I/O ") for x in text), f"{text}")
    m.grows("storm's exits", lambda: m.json("stat storm")["exits_total"])
    m.grows("storm's interrupts", lambda: m.json("stat storm")["injected_interrupts"])
    m.do("stat storm on")
    m.until("exits are timed", lambda: any(e["mean_ticks"] for e in m.json("stat storm")["exits"]))
    m.do("stat storm off")


def traces(m):
    check(m.json("trace show")["records"] == [], "a trace that nobody asked for")
    m.do("trace on storm")
    m.until("the trace fills", lambda: len(m.json("trace show")["records"]) == 64)
    m.do("trace off")
    m.until("the trace stands still", lambda: m.do("trace show -n 500") == m.do("trace show -n 500"))
    rows = m.json("trace show -n 500")["records"]
    check({r["vm"] for r in rows} == {"storm"}, "others are traced, too")
    times = [r["time"] for r in rows]
    check(times == sorted(times), f"not in order: {times}")
    exits = [r for r in rows if r["ticks"] is not None]
    check(exits and {"run", "leave", "inject"} >= {r["event"] for r in rows if r not in exits}, f"{rows}")
    check(m.json("trace show -n 5")["records"] == rows[-5:], "the last five")
    check(m.json("trace show typed")["records"] == [], "typed was not traced")


def life(m, p):
    m.do("rename storm other")
    check("other" in m.states() and "storm" not in m.states(), "rename")
    m.refuses("rename other typed", "there is a VM of that name")
    m.refuses("pause storm", "no such VM")
    m.do("rename other storm")
    said = m.json("dmesg")["lines"]
    check(any(x["text"] == "storm: its name is other now" for x in said), f"{said}")
    check(all(x["text"].encode() in p.err for x in said), "dmesg says what the log did not")
    check(len(m.do("dmesg")) >= len(said) > 5, "dmesg in text")
    m.do("torture storm 7")
    m.grows("storm's exits, in torture", lambda: m.json("stat storm")["exits_total"], by=1000)
    m.do("torture storm off")
    m.until("torture's end", lambda: re.search(rb"storm: torture: [1-9]\d* rebuilds.*; seed 7\r?$", p.err, re.M))
    m.grows("storm's exits, after torture", lambda: m.json("stat storm")["exits_total"])
    # The power button, and what the guest's going down by it is taken for.
    m.do("reboot typed")
    p.send(b"quit\n")
    m.until("a reboot", lambda: b"VM typed: restarted" in p.err)
    p.expect(rb"(?s)typed: TINY: ready.*typed: TINY: ready")
    m.do("shutdown typed")
    p.send(b"quit\n")
    m.until("a power-off", lambda: b"VM typed: ended, poweroff" in p.err)


def verbs(cpu, boot, host_cpus, n, storm_vcpus):
    def test(ctx):
        m = Monitor(ctx)
        known, files = vms_of(ctx, n, storm_vcpus)
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(host_cpus), "--control", m.path, *files)
        check_backend(p, BACKEND[cpu], host_cpus)
        for name in known:
            p.expect(rb"%s: (TINY: ready|SMP: )" % name.encode())
        check(m.json("help")["verbs"][0]["verb"] == "help" and "CAP" in m.do("help sched")[0], "help")
        lists(m, known, host_cpus, cpu)
        schedules(m, known, host_cpus)
        statistics(m, known)
        traces(m)
        life(m, p)
        for name in m.states():
            m.do("destroy " + name)
        check_status(p, 0)
    return test


def finds_the_host(ctx):
    """ctl without a socket's name: the one host that runs; which of two must be said."""
    env = {"XDG_RUNTIME_DIR": ctx.dir}
    tool = os.path.join(ROOT, "tools", "dalang")

    def ctl(*words):
        q = ctx.program([tool, "ctl", *words], env=env)
        return q.finish(), q
    check(ctl("list")[0] == 74, "a host that is not there was found")
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--vm", ctx.vm_file("v", "hlt"), env=env)
    p.expect(rb"TINY: ready")
    status, q = ctl("--", "list", "-j")
    check(status == 0 and json.loads(q.out)["vms"][0]["name"] == "v", f"{q.out} {q.err}")
    path = os.path.join(ctx.dir, "dalang", os.listdir(os.path.join(ctx.dir, "dalang"))[0])
    dead = os.path.join(ctx.dir, "dalang", "host-1")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(dead)
        check(ctl("list")[0] == 0 and not os.path.exists(dead), "a dead host's socket is in the way")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(dead)
        other.listen(8)
        status, q = ctl("list")
        check(status == 64 and path.encode() in q.err and dead.encode() in q.err, f"of two hosts, {status}: {q.err}")
        check(ctl("--socket", path, "list")[0] == 0 and ctl(path, "pause", "v")[0] == 0, "a socket by name")
    check(ctl("frob")[0] == 1, "the status of what fails")
    check(ctl("destroy", "v")[0] == 0, "destroy")
    check_status(p, 0)
    check(not os.path.exists(path), "the socket is left behind")


CASES = [
    Case("monitor-verbs-amd", verbs("amd", "direct", 2, 8, 2), seconds=40, timeout=400),
    Case("monitor-verbs-intel", verbs("intel", "grub", 1, 2, 2), seconds=60, timeout=500),
    Case("ctl-finds-the-host", finds_the_host, seconds=8, timeout=120),
]
