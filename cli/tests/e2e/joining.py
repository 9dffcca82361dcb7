#!/usr/bin/env python3
"""A fourth gateway joins three under load: who moves there is its share and nobody else, at the pace that is set, and nothing is lost.

  joining.py [--users 300] [--rate 50]

Clients go where `moved` says; `--rate` is each gateway's `drain_rate_per_s`. Then they ignore it: as guests they lose nothing either, and nobody
connects again. On services of its own, in PUSHGATE_SERVICES_DIR or a temporary directory. Logs are kept in target/e2e-logs.
"""

import argparse
import asyncio
import re
import tempfile
import time

import server
import services
from gateways import Cluster
from probes import Probes
from verdict import Verdict

verdict = Verdict()
EVERY_S = 1.0
# The ring's share of a fourth gateway is a quarter, and at most a tenth more.
SHARE_MAX = 1.1 / 4
# From `moved` a client has so long at most (MOVED_AFTER_MS_MAX).
AFTER_S = 1.0


async def owners(cluster, users):
    return dict(zip(users, await asyncio.gather(*(asyncio.to_thread(cluster.owner, user) for user in users))))


async def until(question, seconds=60):
    """Asks until it is true, at most so long; the last answer."""
    end = time.monotonic() + seconds
    while not (answer := await asyncio.to_thread(question)) and time.monotonic() < end:
        await asyncio.sleep(0.05)
    return answer


def at_home(cluster):
    return sum(node.metric("pushgate_guests") for node in cluster.gateways()) == 0


def in_sight(cluster, gateways):
    """Whether every node has a list of so many."""
    names = {"gateway": "pushgate_cluster_members", "dispatcher": "pushgate_dispatcher_cluster_members"}
    return all(node.metric(names[node.half]) == gateways for node in cluster.nodes.values())


def share_of(cluster, node):
    """Of all users, as a dispatcher says."""
    _, text = server.http_json(cluster.nodes["d1"].admin, "GET", "/metrics")
    return float(re.search(rf'^pushgate_dispatcher_cluster_share\{{[^}}]*"{node}"[^}}]*\}} (\S+)$', text.decode(), re.M)[1])


async def joins(folder, options, follow):
    what = "clients that follow" if follow else "clients that stay"
    cluster = Cluster(folder, "joining", options.users, drain_rate=options.rate, advertise=follow)
    probes = Probes(cluster, options.users, EVERY_S, follow)
    try:
        await asyncio.to_thread(cluster.start)
        await probes.start()
        verdict.fact(not await probes.flowing(time.monotonic(), 60), f"{what}: everybody is served before")
        if follow:
            verdict.fact(await until(lambda: at_home(cluster)), f"{what}: they are with their owners before")
        before = await owners(cluster, probes.users)
        hellos = sum(len(client.hellos) for client in probes.clients)
        moves = {client.user: len(client.moves) for client in probes.clients}
        began = time.monotonic()
        await asyncio.to_thread(cluster.add("gateway", "g4").process.start)
        verdict.fact(await until(lambda: in_sight(cluster, 4)), f"{what}: all nodes see four gateways")
        seen = time.monotonic()
        after = await owners(cluster, probes.users)
        gone = {user for user in probes.users if before[user] != after[user]}
        share = await asyncio.to_thread(share_of, cluster, "g4")
        verdict.fact(0 < share <= SHARE_MAX, f"{what}: the newcomer's share is at most {SHARE_MAX:.3f}: {share:.4f}", share)
        verdict.fact(gone and all(after[user] == "g4" for user in gone), f"{what}: {len(gone)} of {len(probes.users)} users have another owner, each the newcomer",
                     {after[user] for user in gone})
        if follow:
            verdict.fact(await until(lambda: at_home(cluster)), f"{what}: all are with their owners again")
            took = max((client.moves[-1][0] for client in probes.clients if len(client.moves) > moves[client.user]), default=seen) - began
            told = {client.user for client in probes.clients if len(client.moves) > moves[client.user]}
            verdict.fact(told == gone, f"{what}: who has another owner was told, and nobody else", (len(told - gone), len(gone - told)))
            planned = max(sum(before[user] == f"g{n}" for user in gone) for n in (1, 2, 3)) / options.rate
            print(f"          the last was told {took:.1f} s after the start of the newcomer, {planned:.1f} s at the pace that is set; all there {time.monotonic() - began:.1f} s after it")
        verdict.fact(not await probes.flowing(time.monotonic(), 60), f"{what}: everybody is served after")
        again = sum(len(client.hellos) for client in probes.clients) - hellos
        verdict.fact(again == (len(gone) if follow else 0), f"{what}: nobody else connected again", again)
        await probes.stop()
        complaints = await probes.verdict()
        verdict.fact(not complaints, f"{what}: nothing is lost or out of order", complaints)
    finally:
        probes.over.set()
        cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--rate", type=int, default=50)
    options = parser.parse_args()
    with services.private():
        for follow in (True, False):
            with tempfile.TemporaryDirectory(prefix="pushgate-joining-") as folder:
                try:
                    asyncio.run(joins(folder, options, follow))
                finally:
                    server.keep_logs(folder, "joining")


if __name__ == "__main__":
    verdict.run(main)
