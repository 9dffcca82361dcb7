#!/usr/bin/env python3
"""Three gateways and two dispatchers on real Kafka and Redis, behind one round-robin address: everything fails in turn under verified load.

  chaos_cluster.py [--clients 30000] [--rate 5000] [--minutes 10] [--seed N]
                   [--faults N] [--only REGEX] [--gateways 3] [--lease MS] [--untimed] [--unordered]

The load is `pushgate loadgen`'s: numbered messages through Kafka to clients that ignore `moved`. Some probes, clients that are not Pushgate's,
tell besides who was served when. `--faults` takes the first of the seed's order; 0: nothing fails, nobody may connect again, and what guests
cost is told. `--untimed` judges no times, `--unordered` no order: both are told. On services of its own, in PUSHGATE_SERVICES_DIR or a temporary directory. Logs are kept in
target/e2e-logs.
"""

import argparse
import asyncio
import os
import random
import re
import sys
import tempfile
import time

import faults
import server
import services
from gateways import SESSION_MS, Cluster
from load import Load, judged
from probes import Probes

# A user for each pair of owner and host, five times.
PROBES = 45
# From so many minutes on Kafka's virtual machine compiles what it runs often once more: less of a processor for it, and later up.
LONG_MINUTES = 2


def costs(cluster, before, seconds):
    """Prints what the gateways did since `before`."""
    after = spent(cluster)
    d = {name: after[name] - before[name] for name in after}
    forwarded = d["pushgate_pushes_forwarded_total"]
    # Of a guest's the owner counts it as well as the host.
    if pushes := d["pushgate_pushes_acked_total"] - forwarded:
        size = d["pushgate_pushes_forwarded_bytes_total"] / max(forwarded, 1)
        print(f"gateways: {pushes / seconds:.0f} pushes/s, {100 * forwarded / pushes:.0f} % to guests, {size:.0f} bytes each on the link there, "
              f"{1e6 * d['cpu_s'] / pushes:.1f} us of processor a push", flush=True)


def spent(cluster):
    names = ("pushgate_pushes_acked_total", "pushgate_pushes_forwarded_total", "pushgate_pushes_forwarded_bytes_total")
    sums = {name: sum(node.metric(name) for node in cluster.gateways()) for name in names}
    return {**sums, "cpu_s": sum(node.cpu_s() for node in cluster.gateways())}


async def fail_in_turn(cluster, probes, options, rng, until):
    """The faults, spread over the time; the complaints."""
    order = faults.every_kind(cluster, rng, SESSION_MS / 1000)
    order = [fault for fault in order if re.search(options.only, fault.name)][: options.faults]
    trial = faults.Trial(cluster, probes, not options.untimed)
    for left, fault in zip(range(len(order), 0, -1), order):
        next_at = time.monotonic() + max(0.0, until - time.monotonic()) / left
        await trial.go(fault)
        await asyncio.sleep(max(0.0, next_at - time.monotonic()))
    return trial.complaints


async def run(options, folder):
    rng = random.Random(options.seed)
    cluster = Cluster(folder, "chaos", options.clients, options.gateways, options.lease)
    probes, load = Probes(cluster, PROBES), None
    try:
        await asyncio.to_thread(cluster.start)
        load = Load(cluster, options.clients, options.rate)
        await asyncio.to_thread(load.wait_connected, cluster, 30 + options.clients / 500)
        await probes.start()
        print(f"{options.clients} clients, {len(probes.users)} probes, {cluster.front} in front", flush=True)
        # The warm-up, and everybody served once.
        await asyncio.sleep(4)
        if waiting := await probes.flowing(time.monotonic(), 30):
            raise server.Failed(f"before anything failed, {len(waiting)} probes got nothing in 30 s")
        before, began = await asyncio.to_thread(spent, cluster), time.monotonic()
        until = began + options.minutes * 60
        complaints = await fail_in_turn(cluster, probes, options, rng, until)
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        if options.faults == 0:
            await asyncio.to_thread(costs, cluster, before, time.monotonic() - began)
        await probes.stop()
        report = await asyncio.to_thread(load.end)
        calm = options.faults == 0
        complaints += judged(report, calm, not options.unordered)
        return complaints + await probes.verdict(not options.unordered)
    finally:
        probes.over.set()
        if load:
            load.stop()
        cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=30_000)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--faults", type=int)
    parser.add_argument("--only", default="", metavar="REGEX", help="faults whose names match")
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--lease", type=int, default=3000)
    parser.add_argument("--untimed", action="store_true")
    parser.add_argument("--unordered", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    server.end_on_sigterm()
    if options.minutes >= LONG_MINUTES:
        os.environ.setdefault("PUSHGATE_SERVICES_KAFKA_JVM", "-XX:+UseSerialGC")
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="pushgate-chaos-") as folder, services.private():
        try:
            complaints = asyncio.run(run(options, folder))
        except server.Failed as error:
            complaints = [str(error)]
        finally:
            server.keep_logs(folder, "chaos-cluster")
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    print(f"{'failed' if complaints else 'passed'}, seed {options.seed}")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
