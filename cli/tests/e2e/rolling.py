#!/usr/bin/env python3
"""`scripts/rolling` under load: every gateway and dispatcher is restarted in turn; nothing is lost, and no second sees more reconnects than are allowed.

  rolling.py [--clients 300] [--rate 100] [--reconnects 100] [--from PROGRAM]

`--from` names another version's program: all nodes start with it, are upgraded in turn, and then taken back to it.

On services of its own, in PUSHGATE_SERVICES_DIR or a temporary directory. Logs are kept in target/e2e-logs.
"""

import argparse
import asyncio
import json
import os
import re
import shlex
import subprocess
import tempfile
import time

import server
import services
from gateways import Cluster
from load import Load, judged
from probes import Probes
from verdict import Verdict, eventually

verdict = Verdict()
PROBES = 45


class Started:
    """Processes that `scripts/rolling` stops and starts: by their pid files, not as children of the test."""

    def __init__(self, cluster):
        self.cluster = cluster

    def plan(self, program):
        """What `scripts/rolling` reads, for all nodes to run `program` in the end; its path."""
        path = f"{self.cluster.folder}/nodes.toml"
        with open(path, "w", encoding="utf-8") as file:
            for node in self.cluster.nodes.values():
                file.write("[[nodes]]\n")
                stop = "" if node.half == "gateway" else f"stop = {json.dumps(f'kill -TERM $(cat {self.pid_file(node)})')}\n"
                file.write(f"name = {json.dumps(node.node)}\nadmin = {json.dumps(node.admin)}\n{stop}start = {json.dumps(self.start_of(node, program))}\n")
        return path

    def pid_file(self, node):
        return f"{self.cluster.folder}/{node.node}.pid"

    def start_of(self, node, program):
        words = shlex.join([program, node.half, "--config", node.config])
        return f"setsid {words} >>{node.log} 2>&1 </dev/null & echo $! >{self.pid_file(node)}"

    def start(self, program):
        for node in self.cluster.nodes.values():
            subprocess.run(self.start_of(node, program), shell=True, check=True)
        for node in self.cluster.nodes.values():
            server.wait_ready(node.admin)

    def stop(self):
        for node in self.cluster.nodes.values():
            if os.path.exists(self.pid_file(node)):
                subprocess.run(f"kill -TERM $(cat {self.pid_file(node)}) 2>/dev/null", shell=True, check=False)
        for node in self.cluster.nodes.values():
            if not eventually(lambda node=node: gone(node.admin), 70):
                verdict.fact(False, f"{node.node} ends", "it still answers")


def gone(admin):
    try:
        server.http_json(admin, "GET", "/healthz", timeout=2)
        return False
    except OSError:
        return True


async def rolled(started, probes, reconnects, program):
    """One rolling to `program`, and what probes saw of it."""
    began = time.monotonic()
    command = [str(server.ROOT / "scripts/rolling"), started.plan(program), "--reconnects", str(reconnects)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    print(done.stdout, end="", flush=True)
    verdict.fact(done.returncode == 0, "every node is restarted, within the bound of reconnects", done.stderr)
    names = re.findall(r"^(\w+): \S+ s", done.stdout, re.M)
    verdict.fact(names == list(started.cluster.nodes), "each in its turn", names)
    ended = time.monotonic()
    late = await probes.flowing(ended, 30)
    verdict.fact(not late, "everybody is served afterwards", late)
    silent = max(probes.silence_s(user, began, ended) for user in probes.users)
    print(f"          the longest silence of a probe: {silent:.1f} s", flush=True)


async def run(folder, options):
    cluster = Cluster(folder, "rolling", options.clients, drain_rate=options.reconnects)
    started, probes, load = Started(cluster), Probes(cluster, PROBES), None
    programs = [server.binary(), options.other] if options.other else [server.binary()]
    try:
        await asyncio.to_thread(started.start, programs[-1])
        load = Load(cluster, options.clients, options.rate)
        await asyncio.to_thread(load.wait_connected, cluster, 30 + options.clients / 500)
        await probes.start()
        await asyncio.sleep(4)
        for program in programs:
            await rolled(started, probes, options.reconnects, program)
        await probes.stop()
        report = await asyncio.to_thread(load.end)
        complaints = judged(report, False, False) + await probes.verdict(False)
        verdict.fact(not complaints, "nothing is lost, and nothing comes after its end", complaints)
        again = report["connections"]["greeted"] - options.clients
        print(f"          {again} connected again of {options.clients}", flush=True)
    finally:
        probes.over.set()
        if load:
            load.stop()
        started.stop()
        cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--reconnects", type=int, default=100)
    parser.add_argument("--from", dest="other", metavar="PROGRAM")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pushgate-rolling-") as folder, services.private():
        try:
            asyncio.run(run(folder, options))
        finally:
            server.keep_logs(folder, "rolling")


if __name__ == "__main__":
    verdict.run(main)
