#!/usr/bin/env python3
"""Whether `pushgate loadgen compare` can be believed: one build against itself, and against one whose push path is a tenth slower.

  scripts/bench compare [--comparisons 10] [--seconds 60] [--rate 1000] [--record]

One build of the program, with the feature `slow-push`, serves all runs: each has a `pushgate dev` of its own, with its data in memory (/dev/shm), because a disk that is shared with others differs
by more from run to run than any build. Runs follow each other, each is compared with the one
before: so many comparisons, of which at most one may find a difference. Then a run in which each push is held up by a tenth of what a push cost in the others
is compared with the last: it must be slower. Judged, and told with every ratio; --record writes bench/results/compare.json.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "cli/tests/e2e"))
PROGRAM = ROOT / "target/slow/pushgate"
os.environ["PUSHGATE_BIN"] = str(PROGRAM)

import records  # noqa: E402
from dev import Dev  # noqa: E402 — finds the program by the line above
from server import Failed  # noqa: E402


def run(folder, name, options, slow_ns=0):
    """One load run on a server of its own; the path of its report."""
    place = pathlib.Path(folder, name)
    place.mkdir()
    dev = Dev(str(place), {"PUSHGATE_SLOW_PUSH_NS": str(slow_ns)})
    report = f"{folder}/{name}.json"
    try:
        dev.start()
        words = ["loadgen", "push", "--connections", "1000", "--rate", str(options.rate), "--duration", f"{options.seconds}s", "--warm-up", "5s", "--data", dev.data]
        done = subprocess.run([PROGRAM, *words, "--report", report], capture_output=True, text=True, timeout=options.seconds + 120, check=False)
        if done.returncode:
            raise Failed(f"the run {name} failed: {done.stderr[-800:]}")
    finally:
        dev.process.stop()
    return report


def cost_of_a_push_ns(report):
    """Processor time of the server for a push received, by seconds."""
    told = json.loads(pathlib.Path(report).read_text(encoding="utf-8"))
    seconds = [s for s in told["seconds"] if s["steady"] and s["pushes"] and s["at_s"] > told["measured_from_s"]]
    return statistics.median(sum(server["cpu_ns"] for server in s["server"]) / s["pushes"] for s in seconds)


def compare(first, second):
    done = subprocess.run([PROGRAM, "loadgen", "compare", first, second, "--json"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode > 1:
        raise Failed(done.stderr)
    return json.loads(done.stdout)["compared"]


def told(compared):
    return ", ".join(f"{c['measure']} {c['ratio']:.3f} ({c['low']:.3f} to {c['high']:.3f}) {c['verdict']}" for c in compared)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pushgate-compare-", dir="/dev/shm") as folder:
        reports, itself = [run(folder, "run-0", options)], []
        for number in range(1, options.comparisons + 1):
            reports.append(run(folder, f"run-{number}", options))
            itself.append(compare(reports[-2], reports[-1]))
            print(f"{time.monotonic() - began:6.0f} s  with itself {number}: {told(itself[-1])}", flush=True)
        cost_ns = statistics.median(cost_of_a_push_ns(report) for report in reports)
        slow_ns = round(cost_ns / 10)
        slow = compare(reports[-1], run(folder, "slow", options, slow_ns))
        print(f"a push costs {cost_ns / 1000:.1f} us; held up by {slow_ns / 1000:.1f} us: {told(slow)}", flush=True)
    alarms = sum(any(c["verdict"] != "alike" for c in compared) for compared in itself)
    found = any(c["verdict"] == "slower" for c in slow)
    print(f"{alarms} of {len(itself)} comparisons with itself found a difference; a tenth more was {'found' if found else 'NOT FOUND'}")
    if options.record:
        found = {"cost_of_a_push_ns": round(cost_ns), "slowed_by_ns": slow_ns, "seconds": options.seconds, "rate": options.rate, "with_itself": itself, "slower": slow}
        records.write("compare", "one build compared with itself, and with one whose push path is a tenth slower", found)
    return 0 if alarms <= 1 and found else 1


if __name__ == "__main__":
    sys.exit(main())
