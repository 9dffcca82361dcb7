#!/usr/bin/env python3
"""What the load generator costs beside the gateway it measures, at 100,000 receives a second.

  scripts/bench generator [--rounds 5] [--record]

10,000 clients of one `pushgate dev` are each sent ten messages a second without acknowledgements (ten to everybody). Told, of each round: processor time of the
gateway's shards and of all of `pushgate loadgen`, for a message received. --record writes bench/results/generator.json. Fails unless the generator costs less, by the medians.
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

import records
from records import ROOT

sys.path.insert(0, str(ROOT / "cli/tests/e2e"))
PROGRAM = ROOT / "target/release/pushgate"
os.environ["PUSHGATE_BIN"] = str(PROGRAM)

from dev import Dev  # noqa: E402 — finds the program by the line above

CLIENTS, RATE, WARM_UP_S, SECONDS = 10_000, 10, 5, 10


def processor_ns(pid, prefix=""):
    """Processor time of the threads whose names begin so."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            if (task / "comm").read_text(encoding="utf-8").startswith(prefix):
                total += int((task / "schedstat").read_text(encoding="utf-8").split()[0])
        except FileNotFoundError:
            pass
    return total


def one_round(dev, folder):
    """Nanoseconds of the shards and of the generator for a message, and messages a second."""
    told = f"{folder}/report.json"
    words = ["--connections", CLIENTS, "--rate", RATE, "--warm-up", f"{WARM_UP_S}s", "--duration", f"{SECONDS}s", "--no-ack"]
    command = [PROGRAM, "loadgen", "fanout", *map(str, words), "--data", dev.data, "--report", told]
    shards = processor_ns(dev.process.child.pid, "shard-")
    generator = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    used = 0
    while generator.poll() is None:
        used = max(used, processor_ns(generator.pid))
        time.sleep(0.02)
    report = json.loads(pathlib.Path(told).read_text(encoding="utf-8"))
    received = sum(second["pushes"] for second in report["seconds"])
    shards = processor_ns(dev.process.child.pid, "shard-") - shards
    return {"shards_ns": shards / received, "generator_ns": used / received, "received_per_s": report["received_per_s"], "lost": report["lost"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pushgate-generator-") as folder:
        dev = Dev(folder, {})
        try:
            dev.start()
            rounds = []
            for _ in range(options.rounds):
                rounds.append(one_round(dev, folder))
                print(f"{rounds[-1]['received_per_s']:8.0f} received/s; for each, {rounds[-1]['shards_ns']:6.0f} ns of the gateway, {rounds[-1]['generator_ns']:6.0f} ns of the generator", flush=True)
        finally:
            dev.process.stop()
    ratio = statistics.median(r["generator_ns"] / r["shards_ns"] for r in rounds)
    print(f"the generator costs {ratio:.2f} of the gateway")
    if options.record:
        found = {"clients": CLIENTS, "messages_per_client_and_s": RATE, "generator_to_gateway_median": ratio, "rounds": rounds}
        records.write("generator", "processor time of the load generator and of the gateway's shards for a message received", found)
    return 0 if ratio < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
