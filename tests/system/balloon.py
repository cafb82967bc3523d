# SPDX-License-Identifier: BSD-2-Clause
"""The balloon: memory goes from a guest back to the host and comes again, by the monitor's word and by page reporting."""
import time

from harness import Case, check
from monitor import Monitor
from torture import check_report
from virtio import Linux


def balloon(*host, start=256, most=384, least=160, file=96, cpus=1, **more):
    """MiB: memory, maxmem, what it is shrunk to, and a file that is freed."""
    def test(ctx):
        m, v_timeout = Monitor(ctx), ctx.case.timeout / 2
        v = Linux(ctx, *host, "--control", m.path, modules=("virtio_balloon",), memory=start, maxmem=most, balloon=1, **more)

        def held():
            return m.json("mem v")["vms"][0]["ram_kib"] >> 10

        def free():
            return m.json("mem")["pools"][1]["free_kib"] >> 10

        def settles(mib):
            m.do(f"mem-set v {mib}")
            until(f"the balloon leaves {mib} MiB", lambda: m.json("list v")["vms"][0]["memory"] == mib)

        def total():
            return int(v.run("awk '/MemTotal/ {print $2}' /proc/meminfo")) >> 10

        def until(what, true):
            """However slow the machine is: reporting waits for two seconds of the guest's clock, which Bochs stretches."""
            end = time.monotonic() + v_timeout
            while not true():
                check(time.monotonic() < end, f"{what}: the VM holds {held()} MiB")
                time.sleep(0.5)

        until("the guest has begun with memory =", lambda: m.json("list v")["vms"][0]["memory"] == start)
        check(most - 64 <= total() <= most or total() <= start, f"MemTotal is {total()} MiB")
        # What is kept must hold through all that follows.
        v.run("dd if=/dev/urandom of=/keep bs=1M count=8 2>/dev/null")
        kept = v.run("md5sum </keep")
        settles(most)
        before = held()
        v.run(f"dd if=/dev/zero of=/big bs=1M count={file} 2>/dev/null; cp /keep /keep2")
        grown, pool = held(), free()
        check(grown > file, f"a file of {file} MiB is in memory, of which the VM holds {grown}")
        v.run("rm /big")
        until("free pages are reported", lambda: held() <= grown - file * 3 // 4)
        check(free() >= pool + file * 3 // 4, f"the pool had {pool} MiB free, now {free()}; the VM held {grown}, now {held()}")
        settles(least)
        check(held() <= least + 48, f"{held()} MiB are held, {least} wanted ({before} at first)")
        s = m.json("stat v")
        check(s["balloon_driver"] and s["balloon_kib"] == s["balloon_target_kib"] == (most - least) << 10, f"{s}")
        until("the guest's statistics", lambda: m.json("stat v")["guest_total_kib"] is not None)
        s = m.json("stat v")
        check(s["guest_free_kib"] <= s["guest_total_kib"] <= most << 10, f"{s}")
        settles(most)
        v.run(f"dd if=/dev/zero of=/big bs=1M count={file} 2>/dev/null")
        check(v.run("md5sum </keep") == kept == v.run("md5sum </keep2"), "memory that was never freed has changed")
        m.refuses(f"mem-set v {most + 1}", f"1 to {most} MiB")
        m.refuses("mem-set v 0", "1 to")
        v.end()
        if "torture" in more:
            check_report(v.p, cpus, 10)
    return test


CASES = [
    Case("balloon-amd", balloon("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", cpus=2, vcpus=2), 30, timeout=300),
    Case("torture-balloon-amd", balloon("--cpu", "amd", "--boot", "direct", "--host-cpus", "2", cpus=2, vcpus=2,
                                        torture=6), 40, timeout=400),
]
