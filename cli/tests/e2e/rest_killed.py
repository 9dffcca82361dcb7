#!/usr/bin/env python3
"""REST before two dispatchers, behind configs/haproxy.cfg, under load: a dispatcher is killed with -9 and started again, over and over. No request fails but
those that one had begun when it was killed, and what was accepted arrives.

  rest_killed.py [--rate 500] [--seconds 20] [--every 6] [--clients 200]

The load is `pushgate loadgen`'s, which repeats no request: messages that are due together are one. The acceptance is --rate 10000 --seconds 120 --every 30
with the release program. On real Kafka and Redis, in PUSHGATE_SERVICES_DIR or a temporary directory. Logs are kept in target/e2e-logs.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time

import server
import services
from gateways import Cluster
from proxy import Proxy
from verdict import Verdict, eventually

verdict = Verdict()
# Of those that were sent, beyond those in flight at a kill.
ERRORS_MAX = 0.0001
# What HAProxy says of a request that a server had begun and did not answer; and what is told of one whose own connection ended.
BEGUN = ("502", "the server closed before it answered")
DRAIN_S = 15


def load(cluster, options, rest, report):
    words = ["push", "--via", "rest", "--rest", f"http://{rest}", "--config", cluster.nodes["d1"].config, "--url", f"ws://{cluster.front}", "--connections", str(options.clients),
             "--rate", str(options.rate), "--duration", f"{options.seconds}s", "--warm-up", "2s", "--report", report]
    with open(f"{cluster.folder}/loadgen.log", "wb") as log:
        return subprocess.Popen([server.binary(), "loadgen", *words], stdout=log, stderr=log)


def kill_in_turn(cluster, options, child):
    """How often."""
    kills, began = 0, time.monotonic()
    while child.poll() is None:
        due = began + (kills + 1) * options.every
        # The last one has the time to be started again under load.
        if due > began + options.seconds:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        process = cluster.dispatchers()[kills % 2].process
        process.kill()
        process.start()
        kills += 1
    return kills


def run(folder, options):
    cluster = Cluster(folder, "rest", options.clients, gateways=2)
    clients, rest = server.free_port(), server.free_port()
    proxy = None
    try:
        cluster.start()
        gateways = [(f"127.0.0.1:{node.ports['ws']}", node.admin) for node in cluster.gateways()]
        proxy = Proxy(folder, gateways, [node.admin for node in cluster.dispatchers()], clients, rest)
        verdict.fact(eventually(lambda: reached(rest)), "HAProxy takes the sample, and REST answers behind it")
        report = f"{folder}/report.json"
        child = load(cluster, options, f"127.0.0.1:{rest}", report)
        kills = kill_in_turn(cluster, options, child)
        child.wait(options.seconds + DRAIN_S + 120)
        with open(report, encoding="utf-8") as file:
            lane = json.load(file)["lanes"]["normal"]
    finally:
        if proxy:
            proxy.stop()
        cluster.stop()
    judge(lane, kills, options)


def reached(rest):
    try:
        return server.http_json(f"127.0.0.1:{rest}", "GET", "/healthz", timeout=2)[0] == 200
    except OSError:
        return False


def judge(lane, kills, options):
    failed = lane["refused"] + lane["unanswered"]
    begun = sum(count for why, count in lane["reasons"].items() if why.startswith(BEGUN))
    print(f"          {lane['planned']} planned, {lane['unsent']} unsent, {lane['accepted']} accepted, {kills} kills, {begun} in flight then, {failed - begun} other errors: {lane['reasons']}")
    after = lane["accepted_after"]
    print(f"          accepted after p50 {after['p50_us'] / 1000:.1f} ms, p99 {after['p99_us'] / 1000:.1f} ms, at most {after['max_us'] / 1000:.0f} ms")
    verdict.fact(kills > 0 and lane["accepted"] > 0, f"dispatchers were killed {kills} times under load", lane)
    verdict.fact(failed - begun <= ERRORS_MAX * lane["planned"], f"of {lane['planned']} messages {failed - begun} failed beyond those in flight at a kill", lane["reasons"])
    # No error of whoever was asked: the machine, or all connections of the generator, were taken.
    verdict.fact(not lane["unsent"], f"{options.rate} messages a second were sent", f"{lane['unsent']} were not")
    # One that was not answered may have been accepted, and arrive.
    verdict.fact(lane["received"] >= lane["accepted"], "what was accepted arrived", {name: count for name, count in lane.items() if isinstance(count, int)})
    verdict.fact(not any(lane[what] for what in ("stale", "crossed", "foreign")), "and nothing else did", lane)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--every", type=float, default=6)
    parser.add_argument("--clients", type=int, default=200)
    options = parser.parse_args()
    if shutil.which("haproxy") is None:
        raise server.Failed("HAProxy is needed: apt-get install haproxy")
    with tempfile.TemporaryDirectory(prefix="pushgate-rest-") as folder, services.private():
        try:
            run(folder, options)
        finally:
            server.keep_logs(folder, "rest-killed")


if __name__ == "__main__":
    verdict.run(main)
