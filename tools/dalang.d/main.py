# SPDX-License-Identifier: BSD-2-Clause
"""The verbs of tools/dalang."""
import os
import sys
import traceback

from util import ROOT, TOOL, Fail, Voice, say


def _verb(verb, argv):
    if verb == "run":
        import cli
        return cli.run(argv)
    if verb == "ctl":
        import control
        return control.ctl(argv)
    if verb == "image":
        import stick
        return stick.make(argv)
    if verb == "demo":
        import demo
        return demo.demo(argv)
    if verb == "bench":
        import bench
        return bench.bench(argv)
    if verb == "coverage":
        import coverage
        return coverage.coverage(argv)
    sys.path.insert(0, os.path.join(ROOT, "tests", "system"))
    import runner
    return runner.main(argv)


def _open_closed():
    """A caller may have closed any of 0, 1 and 2: what we open next must not become one of them."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is fd
    for name, fd, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, closefd=False))


def main():
    _open_closed()
    try:
        return _verb(sys.argv[1], sys.argv[2:])
    except Fail as e:
        say(str(e))
        return e.status
    except KeyboardInterrupt:
        return 130
    except OSError as e:
        say(f"{e.filename or 'system'}: {e.strerror}")
        return TOOL
    except Exception:  # pylint: disable=broad-except
        Voice.raw = False
        traceback.print_exc()
        return TOOL


sys.exit(main())
