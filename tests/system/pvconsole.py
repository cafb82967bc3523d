# SPDX-License-Identifier: BSD-2-Clause
"""virtio's console: hvc0 both ways through the monitor's `console -t pv`, its size, and named ports."""
from console import CTL, LEAVE, PROMPT, Terminal
from harness import Case, check
from monitor import Monitor
from torture import check_report
from virtio import Linux


def ports(*host, cpus=1, **more):
    def test(ctx):
        m = Monitor(ctx)
        v = Linux(ctx, *host, "--control", m.path, modules=("virtio_console",), pv_console=1, **more)

        def at(which):
            t = Terminal(ctx.program([CTL, "ctl", m.path]))
            t.see(PROMPT)
            t.type(b"console -t " + which.encode() + b" v\r")
            t.see(rb"\[console of v; Ctrl-\] leads back\]\r\n")
            return t

        def leave(t):
            t.type(LEAVE)
            t.see(PROMPT)
            t.type(LEAVE + b"x")
            check(t.p.finish() == 0, "ctl: Ctrl-] x did not end it")

        v.run("echo hvc is here >/dev/hvc0; (setsid sh -c 'while read x; do echo \"<$x>\"; done </dev/hvc0 >/dev/hvc0 2>&1' &)")
        v.p.expect(rb"^v:pv: hvc is here")
        t = at("pv")
        t.see(rb"hvc is here\r\n")  # it is kept
        long = bytes(97 + i % 26 for i in range(200))
        t.type(b"over there\r" + long + b"\r")
        t.see(rb"<over there>\r\n")
        t.see(rb"<" + long + rb">\r\n")
        leave(t)
        if "channel" in more:
            check(v.run("cat /sys/class/virtio-ports/*/name") == "org.dalang.test", "the port has no name")
            v.run("exec 3<>$(ls /dev/vport*p1); echo port is here >&3; ((head -n 1 <&3 >/got; echo done >>/got) &)")
            t = at("org.dalang.test")
            t.see(rb"port is here")
            t.type(b"a line for it\n")
            leave(t)
            m.until("the port's line is there", lambda: v.run("cat /got") == "a line for it\ndone")
        else:
            m.do("console-size v 133 37")
            m.until("its new size", lambda: v.run("stty -F /dev/hvc0 size") == "37 133")
        m.refuses("console -t other v", "it has no console other")
        v.end()
        if "torture" in more:
            check_report(v.p, cpus, 5)
    return test


AMD = ("--cpu", "amd", "--boot", "direct", "--host-cpus", "2")
CASES = [
    Case("pvconsole-amd", ports(*AMD), 20, timeout=150),
    Case("pvconsole-ports-amd", ports(*AMD, channel="['name=org.dalang.test,connection=pty']"), 20, timeout=150),
    Case("pvconsole-intel", ports("--cpu", "intel", "--boot", "grub", "--host-cpus", "1", memory=128), 60, timeout=500),
    Case("torture-pvconsole-amd", ports(*AMD, cpus=2, torture=7), 30, timeout=250),
]
