#!/usr/bin/env python3
"""A million connections to one `pushgate dev`, both ends on this machine: about eight minutes, 16 GiB free.

  scripts/bench million [--record]

Runs bench/scenarios/million.toml against bench/scenarios/million.server.toml: all connect with tokens of their own, rest for a minute with heartbeats, and each is reached by
one push to everybody and by one of its own. Told: how soon all were there, what was lost or wrong, and what they took at the end of the rest; --record writes
bench/results/million.json. Fails unless all were greeted, none was lost and nothing was wrong.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import records
from records import ROOT

PROGRAM = ROOT / "target/release/pushgate"
SCENARIO = ROOT / "bench/scenarios/million.toml"
SERVER = ROOT / "bench/scenarios/million.server.toml"
# The run may take so long, seconds.
PATIENCE_S = 900


def kilobytes(path, *names):
    """What stands behind these names in a file of the kernel, in kB."""
    lines = (line.split() for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines())
    found = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
    return {name: found.get(name, 0) for name in names}


def memory(server, generator):
    """Anonymous memory of both ends, and the kernel's."""
    anonymous = {name: kilobytes(f"/proc/{pid}/smaps_rollup", "Pss_Anon")["Pss_Anon"] for name, pid in (("server", server), ("generator", generator))}
    return {"anonymous_kib": anonymous, "machine_kib": kilobytes("/proc/meminfo", "MemTotal", "MemFree", "MemAvailable", "Slab")}


def run(folder):
    """The report, and what memory was taken when nobody was connected and when all had rested."""
    data, told, log = f"{folder}/data", f"{folder}/report.json", pathlib.Path(folder, "log")
    with open(f"{folder}/dev.log", "w", encoding="utf-8") as out:
        server = subprocess.Popen([PROGRAM, "dev", "--data", data, "--config", SERVER], stdout=out, stderr=out)
    try:
        while not pathlib.Path(data, "runtime.json").exists():
            if server.poll() is not None:
                sys.exit(f"the server does not start: {pathlib.Path(folder, 'dev.log').read_text(encoding='utf-8')[-800:]}")
            time.sleep(0.1)
        with open(log, "w", encoding="utf-8") as out:
            words = ["loadgen", "mixed", SCENARIO, "--data", data, "--report", told]
            generator = subprocess.Popen([PROGRAM, *words], stdout=out, stderr=out)
        try:
            taken, began = {"empty": memory(server.pid, generator.pid)}, time.monotonic()
            while generator.poll() is None and time.monotonic() - began < PATIENCE_S:
                time.sleep(1)
                last = log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
                # The last second of the rest overwrites those before.
                if " hold " in last:
                    taken["rested"] = memory(server.pid, generator.pid)
                print(f"\r{last[:150]:150}", end="", flush=True)
        finally:
            generator.terminate()
            generator.wait()
        print()
        if not pathlib.Path(told).exists() or not pathlib.Path(told).stat().st_size:
            sys.exit(f"the run told nothing: {log.read_text(encoding='utf-8', errors='replace')[-800:]}")
        return json.loads(pathlib.Path(told).read_text(encoding="utf-8")), taken
    finally:
        server.terminate()
        server.wait()


def without_buckets(value):
    if isinstance(value, dict):
        return {name: without_buckets(inner) for name, inner in value.items() if name != "buckets"}
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pushgate-million-") as folder:
        report, taken = run(folder)
    connections, hold = report["connections"], report["phases"][0]
    all_there = connections["greeted"] == connections["started"] == report["scenario"]["connections"] and not connections["failed"]
    anonymous = taken["rested"]["anonymous_kib"]
    print(f"{connections['greeted']} greeted after {hold['gathered_in_s']:.1f} s, {connections['failed']} failed; anonymous memory of the server "
          f"{anonymous['server'] >> 10} MiB, of the generator {anonymous['generator'] >> 10} MiB, free {taken['rested']['machine_kib']['MemAvailable'] >> 10} MiB")
    for name, lane in report["lanes"].items():
        print(f"{name}: {lane['latency']['samples']} received, p50 {lane['latency']['p50_us'] / 1e6:.2f} s, p99 {lane['latency']['p99_us'] / 1e6:.2f} s")
    print(f"{report['lost']} lost, {report['wrong']} wrong")
    if options.record:
        names = ("took_s", "phases", "connections", "lanes", "lost", "wrong", "taints", "generator")
        found = {"memory": taken, **{name: without_buckets(report[name]) for name in names}}
        records.write("million", "a million connections, each with a token of its own, both ends on one machine", found)
    return 0 if all_there and not report["lost"] and not report["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
