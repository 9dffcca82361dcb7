#!/usr/bin/env python3
"""Two gateways, of which one is cut off: from Redis alone, then from Redis and from all links. Past the lease its users are the other's, and never both act for
them. When it is back they are its own again, and nothing is lost.

  ownership.py [--users 12]

All clients are at the other gateway, so what a dispatcher sends to the first counts there alone, and what the first passes on is told by itself: who acts for
its users can be seen. On services of its own, in PUSHGATE_SERVICES_DIR or a temporary directory. Logs are kept in target/e2e-logs.
"""

import argparse
import asyncio
import tempfile
import time

import server
import services
from gateways import Cluster
from probes import Probes
from verdict import Verdict

verdict = Verdict()
LEASE_MS = 2000
# Beyond the lease: a list is told at once, or read a quarter of a lease later, on a busy machine.
LATE_S = 3.0
LOOK_S = 0.2
# Of `pushgate_cluster_standing`.
OWNS, STEPPED_DOWN = 0, 2
NAMES = ("pushgate_pushes_total", "pushgate_pushes_forwarded_total", "pushgate_cluster_standing")


class Watch:
    """Who acted for the first gateway's users, look by look."""

    def __init__(self, first, second):
        self.nodes, self.looks, self.over = (first, second), [], False

    async def run(self):
        before = await self.counts()
        while not self.over:
            await asyncio.sleep(LOOK_S)
            now = await self.counts()
            (pushes1, passed1, standing1), (pushes2, _, _) = ((n[0] - b[0], n[1] - b[1], n[2]) for n, b in zip(now, before))
            # What the first passed on came to the second from it.
            self.looks.append((time.monotonic(), pushes1 > 0, pushes2 - passed1 > 0, standing1))
            before = now

    async def counts(self):
        return await asyncio.gather(*(asyncio.to_thread(lambda node=node: [node.metric(name) for name in NAMES]) for node in self.nodes))

    def since(self, when):
        return [look for look in self.looks if look[0] > when]


async def owned_by(cluster, node, count):
    found, n = [], 0
    while len(found) < count:
        user, n = f"user-{n}", n + 1
        if await asyncio.to_thread(cluster.owner, user) == node:
            found.append(user)
    return found


async def cut(cluster, probes, watch, what, paths):
    for path, mode in paths.items():
        cluster.relay.set(path, mode)
    began = time.monotonic()
    late = began + cluster.lease_s + LATE_S
    served = await probes.flowing(late, 30)
    verdict.fact(not served, f"{what}: past the lease its users are served", served)
    await asyncio.sleep(cluster.lease_s)
    looks = watch.since(late)
    verdict.fact(looks and not any(first for _, first, _, _ in looks), f"{what}: past the lease it acts for nobody", looks[:5])
    verdict.fact(any(second for _, _, second, _ in looks), f"{what}: the other acts for its users", looks[:5])
    switched = max((at for at, first, _, _ in watch.since(began) if first), default=began)
    print(f"          it acted until {switched - began:.1f} s after it was cut off")
    standing = looks[-1][3]
    if len(paths) > 1:
        verdict.fact(standing == STEPPED_DOWN, f"{what}: it has stepped down", standing)
    else:
        verdict.fact(standing != OWNS, f"{what}: it does not say that it owns its users", standing)
    for path in paths:
        cluster.relay.set(path, "pass")
    healed = time.monotonic()
    waiting = await probes.flowing(healed, 60)
    verdict.fact(not waiting, f"{what}, and back: all are served", waiting)
    until = time.monotonic() + 60
    while not (watch.looks[-1][1] and watch.looks[-1][3] == OWNS) and time.monotonic() < until:
        await asyncio.sleep(LOOK_S)
    verdict.fact(watch.looks[-1][1] and watch.looks[-1][3] == OWNS, f"{what}, and back: its users are its own again", watch.looks[-3:])


async def run(folder, options):
    cluster = Cluster(folder, "owner", options.users, gateways=2, lease_ms=LEASE_MS, shards=1)
    probes = None
    try:
        await asyncio.to_thread(cluster.start)
        first, second = cluster.gateways()
        cluster.probed = f"127.0.0.1:{second.ports['ws']}"
        probes = Probes(cluster, await owned_by(cluster, first.node, options.users), every_s=0.1)
        watch = Watch(first, second)
        await probes.start()
        verdict.fact(not await probes.flowing(time.monotonic(), 30), f"{options.users} users of the first gateway are served at the second")
        watching = asyncio.create_task(watch.run())
        await cut(cluster, probes, watch, "cut off from Redis", {f"redis-{first.node}": "hole"})
        # Of links that only fall silent it learns after 15 s; nothing reaches it by them meanwhile.
        await cut(cluster, probes, watch, "cut off from Redis and links", {f"redis-{first.node}": "hole", f"links-{first.node}": "refuse"})
        watch.over = True
        await watching
        await probes.stop()
        complaints = await probes.verdict(ordered=False)
        verdict.fact(not complaints, "nothing is lost", complaints)
    finally:
        if probes:
            probes.over.set()
        cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pushgate-owner-") as folder, services.private():
        try:
            asyncio.run(run(folder, options))
        finally:
            server.keep_logs(folder, "ownership")


if __name__ == "__main__":
    verdict.run(main)
