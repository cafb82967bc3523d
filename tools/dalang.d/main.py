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
    if verb == "image":
        import stick
        return stick.make(argv)
    if verb == "demo":
        import demo
        return demo.demo(argv)
    if verb == "bench":
        import bench
        return bench.bench(argv)
    sys.path.insert(0, os.path.join(ROOT, "tests", "system"))
    import runner
    return runner.main(argv)


def main():
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
