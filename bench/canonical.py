#!/usr/bin/env python3
"""The benchmarks that stand for all: one after the other, in less than a quarter of an hour after the build, with one summary.

    scripts/bench                 everything below, with results in target/bench-all
    scripts/bench all --record    the same; results replace those in bench/results
    scripts/bench all --list      what is run, and how long each part is expected to take

Counts and rounds are smaller than those of the parts run alone: what is found is a first look, not a record to compare closely.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import history

# The least that is worth a record of what a push and a session cost, and how soon a push is there. Name, command, seconds expected: on two
# cores, from the lengths of the rounds.
PARTS = [
    ("instructions", ["target/instructions/instructions"], 40),
    ("e2e embedded", ["target/release/e2e", "--forms", "embedded", "--rates", "1000,10000", "--seconds", "10", "--warm-up-s", "5"], 50),
    ("e2e cluster", ["target/release/e2e", "--forms", "cluster", "--rates", "1000", "--seconds", "10", "--warm-up-s", "5"], 40),
    ("gateway fan-out", ["target/release/gateway", "fan-out", "--rounds", "3"], 100),
    ("gateway echo", ["target/release/gateway", "echo", "--rounds", "3"], 20),
    ("gateway accepts", ["target/release/gateway", "accepts", "--rounds", "2"], 75),
    ("gateway idle", ["target/release/gateway", "idle"], 150),
    ("dispatcher throughput-acked", ["target/release/dispatcher", "throughput-acked", "--rounds", "2"], 80),
    ("dispatcher all", ["target/release/dispatcher", "all", "--rounds", "2"], 70),
    ("dispatcher lanes", ["target/release/dispatcher", "lanes", "--rounds", "2"], 120),
]
# All parts together, seconds. What has no time left is left out, and told.
TOTAL_S = 900
FOLDER = history.ROOT / "target/bench-all"
# Figures that no curve draws, because they depend on the machine. Told beside the others.
ABSOLUTE = [
    ("embedded 1,000/s: p50 ms", "e2e-embedded-1000", history.value("delivery_ms", "p50")),
    ("embedded 10,000/s: p50 ms", "e2e-embedded-10000", history.value("delivery_ms", "p50")),
    ("cluster 1,000/s: p50 ms", "e2e-cluster-1000", history.value("delivery_ms", "p50")),
    ("pushes a dispatcher CPU second", "dispatcher-throughput-acked", history.value("pushes_per_dispatcher_cpu_second_median")),
]


def run(name, command, seconds_left, results):
    """Runs a part, its output in a file of its own. Why it failed, or None."""
    log = FOLDER / f"{name.replace(' ', '-')}.log"
    environment = {**os.environ, "BENCH_RESULTS": str(results)}
    recorded = command if name == "instructions" else [*command, "--record"]
    with open(log, "w") as out:
        # Ends the servers that the part has started, too.
        bound = ["timeout", "--kill-after=10", str(int(seconds_left))]
        code = subprocess.run([*bound, *recorded], cwd=history.ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT).returncode
    if code == 0:
        return None
    lines = log.read_text(errors="replace").strip().splitlines()
    why = "no time was left" if code == 124 else lines[-1][:200] if lines else f"exit {code}"
    return f"{why} (target/bench-all/{log.name})"


def committed(record):
    """A record as it was last committed; empty if it was not."""
    try:
        return json.loads(history.git("show", f"HEAD:bench/results/{record}.json"))
    except (history.Failure, ValueError):
        return {}


def summary(results, since):
    """What was found beside what was last committed: only records that were written since."""
    curves = [(title, name, record, of) for title, lines in history.PANELS for name, record, of in lines]
    curves += [("Absolute: of this machine, today", *line) for line in ABSOLUTE]
    told, lines = None, []
    for title, name, record, of in curves:
        path = results / f"{record}.json"
        if not path.exists() or path.stat().st_mtime < since:
            continue
        if title != told:
            lines.append(f"\n{title:<62} {'now':>9} {'committed':>10}")
            told = title
        values = [of(json.loads(path.read_text())), of(committed(record))]
        now, before = ("-" if v is None else history.number(v) for v in values)
        lines.append(f"  {name:<60} {now:>9} {before:>10}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench all", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write to bench/results")
    parser.add_argument("--list", action="store_true", help="print the parts and run none")
    options = parser.parse_args()
    if options.list:
        for name, command, expected_s in PARTS:
            print(f"{expected_s:>4} s  {name:<28} {' '.join(command)}")
        print(f"{sum(expected for _, _, expected in PARTS):>4} s  of {TOTAL_S}")
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    results = history.ROOT / "bench/results" if options.record else FOLDER
    began, since, failed = time.monotonic(), time.time(), []
    for n, (name, command, expected_s) in enumerate(PARTS, 1):
        spent = time.monotonic() - began
        print(f"[{n}/{len(PARTS)}] {spent:>4.0f} s  {name}, about {expected_s} s", flush=True)
        trouble = run(name, command, TOTAL_S - spent, results) if TOTAL_S - spent > expected_s / 2 else "no time was left"
        if trouble:
            failed.append(f"{name}: {trouble}")
            print(f"      FAILED: {trouble}", flush=True)
    print(summary(results, since))
    print(f"\n{len(PARTS) - len(failed)} of {len(PARTS)} parts in {time.monotonic() - began:.0f} s; output and records in {results.relative_to(history.ROOT)}")
    for line in failed:
        print(f"failed: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
