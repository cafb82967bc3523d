# SPDX-License-Identifier: BSD-2-Clause
"""`tools/dalang test`: every test by name, two side by side, the long ones first."""
import argparse
import fnmatch
import os
import threading
import time
import traceback

import cases
from harness import ROOT, Context, Failed, Skip
from util import USAGE, Fail

WORKERS = 2
LOGS = os.path.join(ROOT, "build", "test-logs")


def _available():
    with open("/proc/meminfo") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    return 1 << 20


class Runner:
    def __init__(self, todo):
        self._todo = sorted(todo, key=lambda c: -c.seconds)
        self._lock = threading.Condition()
        self._busy = 0
        self.results = {"ok": [], "FAIL": [], "skip": []}

    def _next(self):
        """The longest test that fits into memory beside the running one; alone any fits."""
        with self._lock:
            while self._todo:
                free = _available()
                fit = next((c for c in self._todo if self._busy == 0 or c.memory < free), None)
                if fit:
                    self._todo.remove(fit)
                    self._busy += 1
                    return fit
                self._lock.wait(5)
            return None

    def _one(self, case):
        started = time.monotonic()
        path = os.path.join(LOGS, case.name + ".log")
        with open(path, "wb") as log:
            ctx = Context(case, log)
            try:
                case.function(ctx)
                verdict, text = "ok", ""
            except Skip as e:
                verdict, text = "skip", str(e)
            except Failed as e:
                verdict, text = "FAIL", str(e)
            except Exception:  # pylint: disable=broad-except
                verdict, text = "FAIL", traceback.format_exc()
            finally:
                ctx.close()
            log.write(f"<{verdict} {text}>\n".encode())
        seconds = int(time.monotonic() - started)
        with self._lock:
            self.results[verdict].append(case.name)
            if verdict == "skip":
                print(f"skip {case.name}: {text}", flush=True)
            else:
                print(f"{verdict} {case.name} ({seconds} s)", flush=True)
            if verdict == "FAIL":
                print(f"     {text}\n     log: {path}", flush=True)

    def _worker(self):
        while True:
            case = self._next()
            if case is None:
                return
            self._one(case)
            with self._lock:
                self._busy -= 1
                self._lock.notify_all()

    def run(self):
        threads = [threading.Thread(target=self._worker) for _ in range(WORKERS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()


def main(argv):
    p = argparse.ArgumentParser(prog="tools/dalang test")
    p.add_argument("--list", action="store_true", help="names, and nothing runs")
    p.add_argument("--only", metavar="PATTERN", action="append", default=[],
                   help="tests whose name matches (shell pattern, or a part of the name)")
    p.add_argument("--exactly", action="store_true", help="--only names whole tests")
    p.add_argument("--soak", action="store_true", help="the long ones too")
    p.add_argument("--torture", metavar="SEED", type=int, help="every VM in torture mode")
    opts = p.parse_args(argv)
    # A long one runs on a change only if it is asked for by its whole name.
    todo = [c for c in cases.all_cases()
            if (opts.soak or not c.soak or c.name in opts.only) and
            (not opts.only or any((o in c.name and not opts.exactly) or fnmatch.fnmatch(c.name, o) for o in opts.only))]
    if not todo:
        raise Fail(USAGE, f"no test is called {opts.only}; --list shows them")
    for c in todo:
        if c.torture is None:
            c.torture = opts.torture
    if opts.list:
        print("\n".join(c.name for c in todo))
        return 0
    os.makedirs(LOGS, exist_ok=True)
    started = time.monotonic()
    runner = Runner(todo)
    runner.run()
    r = runner.results
    print(f"in {int(time.monotonic() - started)} s; logs in {LOGS}")
    if r["FAIL"]:
        print("failed: " + " ".join(sorted(r["FAIL"])))
    print(f"{len(r['ok'])} passed, {len(r['FAIL'])} failed, {len(r['skip'])} skipped", flush=True)
    return 1 if r["FAIL"] or not r["ok"] else 0
