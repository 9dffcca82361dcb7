#!/usr/bin/env python3
"""Whether `pushgate loadgen compare` can be believed: one build against itself, and against one whose push path is a tenth slower.

  scripts/bench compare [--comparisons 10] [--seconds 40] [--rate 20000] [--record]

One build of the program, with the feature `slow-push`, serves all runs: each has a `pushgate gateway` of its own, to which `pushgate loadgen push --via link` sends. Runs follow each other, each is
compared with the one before: so many comparisons, of which at most one may find a difference. Then a run in which each push is held up by a tenth of what a push cost in the others is compared with
the last: it must be slower. Judged, and told with every ratio; --record writes bench/results/compare.json.
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
import server  # noqa: E402 — finds the program by the line above
from server import Failed  # noqa: E402
from verdict import eventually  # noqa: E402

CONFIG = """
[gateway]
listen = "127.0.0.1:{clients}"
links = "127.0.0.1:{links}"
admin = "127.0.0.1:{admin}"
[links]
key = "a key for this measurement alone"
[[apps]]
id = "bench"
secrets = [{{ id = "s1", secret = "the secret of the measured app" }}]
keys = [{{ kind = "jwt", alg = "HS256", key = "0123456789abcdef0123456789abcdef", kid = "k1" }}]
"""


def is_up(port):
    try:
        return server.http_json(f"127.0.0.1:{port}", "GET", "/healthz", timeout=2)[0] == 200
    except OSError:
        return False


def run(folder, name, options, slow_ns=0):
    """One load run on a gateway of its own; the path of its report."""
    config, report = f"{folder}/{name}.toml", f"{folder}/{name}.json"
    ports = {name: server.free_port() for name in ("clients", "links", "admin")}
    pathlib.Path(config).write_text(CONFIG.format(**ports), encoding="utf-8")
    gateway = server.Process("gateway", ["gateway", "--config", config], {"PUSHGATE_SLOW_PUSH_NS": str(slow_ns)}, f"{folder}/{name}.log").start()
    try:
        if not eventually(lambda: is_up(ports["admin"])):
            raise Failed(f"the gateway of {name} does not start: {pathlib.Path(gateway.log).read_text(encoding='utf-8')[-800:]}")
        words = ["loadgen", "push", "--config", config, "--via", "link", "--connections", "1000", "--rate", str(options.rate), "--duration", f"{options.seconds}s", "--warm-up", "5s"]
        done = subprocess.run([PROGRAM, *words, "--report", report], capture_output=True, text=True, timeout=options.seconds + 120, check=False)
        if done.returncode:
            raise Failed(f"the run {name} failed: {done.stderr[-800:]}")
    finally:
        gateway.stop()
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
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--rate", type=int, default=20000)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pushgate-compare-") as folder:
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
