# SPDX-License-Identifier: BSD-2-Clause
"""A guest under Debian's own gdb, by `run --gdb`; and what a debugger that is no gdb may send."""
import os
import re
import socket
import subprocess
import time

import guests
from bare import Gdb
from boots import BACKEND
from harness import ROOT, Case, check, check_backend, check_status
from util import guest_file

DEBUGGEE = os.path.join(ROOT, "build", "tests", "guests", "debuggee.elf")

# Where each step over tests/guests/debuggee.asm's instructions leads. TCG runs HLT with the STI before it.
STEPS = ("w_nop w_zero w_cpuid w_in w_out w_addr w_mmio w_ecx w_rdmsr w_cr w_pushf w_or w_and w_note w_popf w_int3 "
         "vector-3 w_int vector-64 w_call system_call system_call.1 system_call.3 system_call.4 w_back w_tf w_sti (w_hlt )?"
         "w_cli vector-48 w_cli w_rep w_edi w_stos w_stos w_stos w_pop w_ret")
START = """
hbreak here
continue
printf "CALLS %lu %lu\\n", (unsigned long)calls, (unsigned long)$rdi
info threads
watch *(unsigned long *)&watched
awatch *(unsigned long *)&other
continue
continue
delete
break here
continue
printf "HERE %lu\\n", (unsigned long)$rdi
x/4xb here
delete
break walk
continue
delete
"""
WALK = """
set $i = 0
while $i < 40
stepi
set $pc_ = (unsigned long)$pc
if $pc_ >= (unsigned long)&isr_table && $pc_ < (unsigned long)&isr_table + 4096
printf "STEP vector-%lu\\n", ($pc_ - (unsigned long)&isr_table) / 16
tbreak *(*(unsigned long *)$rsp)
continue
end
printf "STEP "
info symbol $pc
if (unsigned long)$pc == (unsigned long)&w_ret
loop_break
end
set $i = $i + 1
end
hbreak g_set
continue
set $rax = 0x1000
set $xmm0.v2_int64[0] = 0x234
set var *(unsigned long *)&patch_me = 0x2222
set $k_gs_base = 0x5678
"""
# Each must be refused, and cost nothing else.
REFUSED = ("set $rip = 0x1234567890123456", "set $fs_base = 0x1111111111111111", "set $cr0 = 0", "set $mxcsr = 0xffffffff",
           "x/x 0x7000000000", "x/x 0x800000000000", "x/x 0x1b0000000", "monitor nonsense")
END = """
monitor phys on
x/2xb here
monitor phys off
monitor info
set scheduler-locking on
thread 2
set $n = (unsigned long)ap_count
stepi
stepi
stepi
stepi
stepi
stepi
printf "AP %lu\\n", (unsigned long)ap_count - $n
set scheduler-locking off
thread 1
set var *(unsigned long *)&go = 1
detach
"""


def port_of(p, vm):
    return int(p.expect(rb"^dalang: VM %s: in gdb, `target remote :(\d+)`" % vm.encode(), "err").group(1))


def gdb(ctx, port, symbols, *commands):
    """Debian's gdb in batch mode; what it printed, and what it complained of. A command is a line, or a script of several."""
    argv = ["gdb", "-nx", "-q", "-batch"]
    for c in ("set pagination off", "set confirm off", "set remotetimeout 60", f"target remote :{port}", *commands):
        argv += ["-x", ctx.file(f"{len(argv)}.gdb", c)] if "\n" in c else ["-ex", c]
    p = ctx.program(argv + ([symbols] if symbols else []))
    p.finish()
    return p.out.decode("utf-8", "replace"), p.err.decode("utf-8", "replace")


def seen(said, *patterns):
    """Each pattern, one behind the other."""
    at = 0
    for pattern in patterns:
        m = re.compile(pattern, re.M | re.S).search(said, at)
        check(m, f"gdb did not say {pattern!r} behind {said[max(0, at - 200):at]!r}")
        at = m.end()


def debuggee(cpu, boot, host_cpus):
    def test(ctx):
        p = ctx.run("--cpu", cpu, "--boot", boot, "--host-cpus", str(host_cpus), "--gdb", "0", "--vm",
                    ctx.vm_file("dbg", kernel=DEBUGGEE, vcpus=2))
        port = port_of(p, "dbg")
        said, wrong = gdb(ctx, port, DEBUGGEE + ".64", START, WALK, *REFUSED, END)
        check_backend(p, BACKEND[cpu], host_cpus)
        seen(said, r"in start \(\)", r"Breakpoint 1, \S+ in here", r"^CALLS 0 1$", r"^\* 1 +Thread 1 \(vCPU 0, running\)",
             r"^  2 +Thread 2 \(vCPU 1, running\)", r"watchpoint 2: .*?^Old value = 0\s+New value = 5",
             r"\(read/write\) watchpoint 3: .*?^(Old value = 0\s+New )?[Vv]alue = 6", r"Breakpoint 4, \S+ in here", r"^HERE 2$",
             r"<here>:\s+0x48\s+0x8b", r"Breakpoint 5, \S+ in walk", r"Breakpoint \d+, \S+ in g_set")
        steps = " ".join(re.findall(r"^STEP (vector-\d+|\S+(?: \+ \d+)?)", said, re.M)).replace(" + ", "+")
        check(re.fullmatch(STEPS, steps), f"it stepped to {steps}")
        seen(wrong, *[r'Could not write register "%s"' % r for r in ("rip", "fs_base", "cr0", "mxcsr")],
             *["Cannot access memory at address " + a for a in ("0x7000000000", "0x800000000000", "0x1b0000000")],
             "^no such command", r"^dbg: 2 vCPUs, 64 MiB; addresses are linear")
        seen(said, r"in g_set", r"<here>:\s+0x48\s+0x8b", r"^AP 2$", r"detached\]")
        check_status(p, 11)
        said = dict(re.findall(rb"DEBUGGEE: (\w+) (\w+)\r", p.out))
        want = {b"register": b"1234", b"memory": b"2222", b"kgs": b"5678", b"dr7": b"400", b"tf": b"0", b"int3": b"1", b"soft": b"1",
                b"timer": b"1"}
        check({k: said.get(k) for k in want} == want, f"the guest says {said}")
    return test


def symbol(name):
    """Of the debuggee."""
    nm = subprocess.run(["nm", DEBUGGEE + ".64"], capture_output=True, text=True, check=True).stdout
    return int(re.search(rf"^(\w+) \w {name}$", nm, re.M).group(1), 16)


# Each is answered by an error or by nothing, which is "unknown".
NONSENSE = (b"m", b"mffffffffffffffffff,1", b"m1000", b"M1000,4:12", b"M1000,1:zz", b"X1000,4:12", b"G00", b"P10=zz", b"P10", b"pfff",
            b"Z9,0,1", b"Z1,3,1,", b"Z2,1,8", b"Z2,0,10", b"Z0,800000000000,1", b"Hg99", b"T99", b"T0", b"vCont;x", b"vCont",
            b"vCont;s:77", b"vCont;r1000:1", b"vNothing", b"c1000", b"qXfer:features:read:target.xml:zz,1",
            b"qXfer:features:read:other.xml:0,10", b"qRcmd,6", b"qRcmd," + b"41" * 900, b"!", b"", b"Qqemu.PhyMemMode:7", b"R00",
            b"m" + b"1" * 3000)


def packets(ctx):
    """A debugger that is no gdb: Ctrl-C, ranges, binary writes, nonsense, and an end without a word."""
    p = ctx.run("--cpu", "amd", "--boot", "direct", "--host-cpus", "1", "--gdb", "dbg:0,nowait",
                "--vm", ctx.vm_file("dbg", kernel=DEBUGGEE, vcpus=2))
    port = port_of(p, "dbg")
    p.expect(rb"DEBUGGEE: waits")
    sock = socket.create_connection(("127.0.0.1", port))
    g = Gdb(sock)
    loop, pause, jump = symbol("ap_loop"), symbol("ap_in"), symbol("ap_jump")

    def says(packet, want):
        got = g.ask(packet)
        check(re.fullmatch(want, got), f"{packet[:40]} is answered by {got[:200]}")

    def rip(want):
        says(b"p10", want.to_bytes(8, "little").hex().encode())
    says(b"qSupported:swbreak+;xmlRegisters=i386", rb"PacketSize=800;.*")
    says(b"?", rb"T0[25]thread:\d;")
    sock.sendall(b"$vCont;c#a8")
    time.sleep(0.3)
    sock.sendall(b"\x03")
    got = g.answer()
    check(re.fullmatch(rb"T02thread:\d;", got), f"Ctrl-C is answered by {got}")
    says(b"Z1,%x,1" % loop, b"OK")
    says(b"vCont;c:2", rb"T05thread:2;hwbreak:;")
    says(b"z1,%x,1" % loop, b"OK")
    rip(loop)
    says(b"vCont;r%x,%x:2" % (loop, jump), rb"T05thread:2;")  # two instructions
    rip(jump)
    before = g.ask(b"m%x,2" % pause)
    says(b"Z0,%x,1" % pause, b"OK")
    says(b"m%x,2" % pause, before)
    says(b"M%x,1:%s" % (pause, before[:2]), b"OK")
    says(b"vCont;c", rb"T05thread:2;swbreak:;")
    rip(pause)
    says(b"z0,%x,1" % pause, b"OK")
    says(b"X9000,3:}]\x03}\x03", b"OK")
    says(b"m9000,3", b"7d0323")
    for wrong in NONSENSE:
        got = g.ask(wrong)
        check(got == b"" or got[:1] == b"E", f"{wrong[:40]} is answered by {got[:100]}")
    says(b"Z0,%x,1" % pause, b"OK")
    says(b"vCont;c", rb"T05thread:2;swbreak:;")
    says(b"M%x,8:0100000000000000" % symbol("go"), b"OK")
    sock.sendall(b"$X1000,")
    sock.close()  # no detach, a breakpoint in the code, in the middle of a packet
    check_status(p, 11)


# --- Linux ---

SYMBOLS = ("start_kernel", "linux_banner")


def linux(ctx, cpu, boot, *options):
    return ctx.run("--cpu", cpu, "--boot", boot, "--kernel", guest_file("vmlinuz"), "--ramdisk", guests.initramfs(),
                   "--cmdline", guests.CMDLINE + " nokaslr", "--memory", "256", "--vcpus", "2", *options)


def kallsyms(ctx):
    """Where SYMBOLS are: what the running kernel says."""
    p = linux(ctx, "amd", "direct", "--host-cpus", "1")
    m = p.expect(guests.PROMPT.strip().encode())
    p.send(b"grep -E ' (%s)$' /proc/kallsyms; poweroff -f\n" % "|".join(SYMBOLS).encode())
    check_status(p, 0)
    found = {n.decode(): int(a, 16) for a, n in re.findall(rb"^([0-9a-f]{16}) \w (\w+)\r?$", p.out[m.end():], re.M)}
    check(all(found.get(n) for n in SYMBOLS), f"/proc/kallsyms has {found}")
    return found


def at_start_kernel(syms):
    """What gdb is told, and what it is to say: the break, memory by both kinds of address, registers, steps."""
    start, banner = (syms[n] for n in SYMBOLS)
    script = [f"hbreak *{start:#x}", "continue", 'printf "AT %#lx\\n", $pc', f"x/s {banner:#x}", f"x/4xw {start:#x}",
              "monitor phys on", f"x/4xw {start - 0xffffffff80000000:#x}", "monitor phys off", "info registers cr0 cr3 efer gs_base"]
    script += ["stepi", 'printf "STEP %#lx\\n", $pc'] * 8 + ["info threads", f"x/x {start & 0xffff:#x}", "delete"]
    patterns = [rf"^AT {start:#x}$", r'"Linux version ', rf"^{start:#x}:\s+(0x\w+)\s+(0x\w+)\s+(0x\w+)\s+(0x\w+)$",
                rf"^{start - 0xffffffff80000000:#x}:\s+(0x\w+)\s+(0x\w+)\s+(0x\w+)\s+(0x\w+)$", r"^cr0 +0x80050033",
                r"^efer +0xd01", r"vCPU 1, waits for a SIPI"]
    return script, patterns


def check_linux(said, patterns):
    seen(said, *patterns)
    a, b = re.findall(r"^0x\w+:((?:\s+0x\w{8}){4})$", said, re.M)[:2]
    check(a.split() == b.split(), f"by its linear address {a}, by its physical {b}")
    steps = re.findall(r"^STEP (\w+)$", said, re.M)
    check(len(set(steps)) >= 6, f"its steps lead to {steps}")


def debug_linux(cpu, boot, host_cpus, end):
    def test(ctx):
        script, patterns = at_start_kernel(kallsyms(ctx))
        p = linux(ctx, cpu, boot, "--host-cpus", str(host_cpus), "--gdb", "0")
        check_linux(gdb(ctx, port_of(p, "guest"), None, *script, end)[0], patterns)
        if end == "detach":
            p.expect(guests.PROMPT.strip().encode())
            p.send(b"poweroff -f\n")
        check_status(p, 0)
    return test


CASES = [
    Case("gdb-packets", packets, seconds=10, timeout=100),
    Case("gdb-tiny-amd", debuggee("amd", "direct", 2), seconds=15, timeout=150),
    Case("gdb-tiny-intel", debuggee("intel", "grub", 1), seconds=60, timeout=400),
    Case("gdb-tiny-torture", debuggee("amd", "direct", 2), seconds=20, timeout=200, torture=7),
    Case("gdb-linux-amd", debug_linux("amd", "direct", 2, "detach"), seconds=40, timeout=400),
    # From there to its shell it is minutes, in Bochs.
    Case("gdb-linux-intel", debug_linux("intel", "grub", 1, "kill"), seconds=90, timeout=700),
]
