"""What happens to a cluster: its nodes are killed, Redis and Kafka restarted, and the network between them breaks in every way that the relay
knows. Each fault holds for a while, and is judged by what the probes saw."""

import asyncio
import os
import pathlib
import signal
import time
from dataclasses import dataclass

import services

# How long after a fault is over each probe may wait for its next message.
RECOVERY_S = 60
DELAY_MS = 200


@dataclass
class Fault:
    """`begin` and `end` do it and undo it, both blocking. Of `node`'s own users is judged how soon they were served again, of the others that
    they were; without a node it is everybody's."""

    name: str
    begin: object
    end: object
    hold_s: float
    node: str = None
    # From its beginning to the first push for its own users, at most; None: as long as it holds, they may wait.
    served_in_s: float = None
    # Whether others must go on being served meanwhile.
    others_go_on: bool = False


def kill(cluster, node, hold_s, served_in_s):
    process = cluster.nodes[node].process
    gateway = cluster.nodes[node].half == "gateway"
    return Fault(f"kill -9 {node}, gone for {hold_s:.1f} s", process.kill, process.start, hold_s, node, served_in_s, gateway)


def restart(word, hold_s):
    return Fault(f"kill -9 {word}, gone for {hold_s:.1f} s", lambda: services.services("kill", word), lambda: services.services("restart", word), hold_s)


def stop(word, hold_s):
    """The server lives and answers nobody: what the network would do to all its connections."""
    def tell(which):
        pid = int((pathlib.Path(os.environ["PUSHGATE_SERVICES_DIR"]) / word / "pid").read_text())
        os.kill(pid, which)
    return Fault(f"{word} cut off from all, {hold_s:.1f} s", lambda: tell(signal.SIGSTOP), lambda: tell(signal.SIGCONT), hold_s)


def cut(cluster, mode, hold_s, *paths, node=None, others_go_on=False):
    delay_ms = DELAY_MS if mode == "delay" else 0

    def begin():
        for path in paths:
            cluster.relay.set(path, mode, delay_ms)

    def end():
        for path in paths:
            cluster.relay.set(path, "pass")

    words = {"hole": "black hole", "up": "requests lost", "down": "answers lost", "refuse": "refused", "delay": f"{DELAY_MS} ms late"}
    return Fault(f"{' and '.join(paths)}: {words[mode]}, {hold_s:.1f} s", begin, end, hold_s, node, None, others_go_on)


def every_kind(cluster, rng, dispatcher_s):
    """All faults in an order of the seed's: each node killed once, each service restarted once, each kind of partition once."""
    lease_s = cluster.lease_s
    gateways, dispatchers = [n.node for n in cluster.gateways()], [n.node for n in cluster.dispatchers()]
    rng.shuffle(gateways)
    past, short = lambda: lease_s + rng.uniform(1, 2), lambda: rng.uniform(0.1, 1.0)
    some = lambda nodes: rng.choice(nodes)
    # The first one is back before its lease is over, the others after.
    kills = [kill(cluster, node, lease_s + 4 if at else short(), lease_s + 3) for at, node in enumerate(gateways)]
    kills += [kill(cluster, node, dispatcher_s + 1 if at else short(), dispatcher_s + 3) for at, node in enumerate(dispatchers)]
    g = [some(gateways) for _ in range(8)]
    cuts = [
        cut(cluster, "hole", past(), f"redis-{g[0]}", node=g[0], others_go_on=True),
        cut(cluster, rng.choice(("up", "down")), past(), f"redis-{g[1]}", node=g[1], others_go_on=True),
        cut(cluster, rng.choice(("hole", "refuse")), past(), f"redis-{some(dispatchers)}"),
        cut(cluster, "hole", past(), f"links-{g[2]}", node=g[2], others_go_on=True),
        cut(cluster, "up", past(), f"links-{g[3]}", node=g[3], others_go_on=True),
        cut(cluster, "down", past(), f"links-{g[4]}", node=g[4], others_go_on=True),
        cut(cluster, "refuse", past(), f"links-{g[5]}", node=g[5], others_go_on=True),
        cut(cluster, "delay", past(), f"links-{g[6]}", node=g[6], others_go_on=True),
        cut(cluster, "hole", past() + lease_s, f"links-{g[7]}", f"redis-{g[7]}", node=g[7], others_go_on=True),
        cut(cluster, rng.choice(("hole", "up", "down")), past(), "probes"),
        cut(cluster, "refuse", short(), "probes"),
    ]
    outages = [restart("redis", short()), restart("kafka", short()), stop("redis", past()), stop("kafka", past())]
    for kinds in (kills, cuts, outages):
        rng.shuffle(kinds)
    # Taken in turn, so that few of them are of several kinds.
    order = []
    while kills or cuts or outages:
        order += [kinds.pop() for kinds in (kills, outages, cuts, cuts) if kinds]
    return order


class Trial:
    """Faults one after the other, and what the probes saw of each."""

    def __init__(self, cluster, probes, timed):
        self.cluster, self.probes, self.timed, self.complaints = cluster, probes, timed, []

    async def go(self, fault):
        owners = dict(zip(self.probes.users, await asyncio.gather(*(asyncio.to_thread(self.cluster.owner, user) for user in self.probes.users))))
        hellos = {user: len(client.hellos) for user, client in self.probes.of.items()}
        began = time.monotonic()
        await asyncio.to_thread(fault.begin)
        struck = time.monotonic()
        await asyncio.sleep(fault.hold_s)
        await asyncio.to_thread(fault.end)
        over = time.monotonic()
        waiting = await self.probes.flowing(over, RECOVERY_S)
        healed = time.monotonic()
        if waiting:
            self.complaints.append(f"{fault.name}: {len(waiting)} of {len(self.probes.users)} probes got nothing in {RECOVERY_S} s after it, e.g. {waiting[:3]}")
            return
        # Those whom it had: its users, and sessions that it held and lost. A dispatcher's are not told apart.
        mine = [u for u in self.probes.users if fault.node and (owners[u] == fault.node or len(self.probes.of[u].hellos) > hellos[u])]
        if fault.node and not fault.others_go_on:
            mine = list(self.probes.users)
        others = [u for u in self.probes.users if u not in mine]
        served = max((self.probes.first_of(u, struck) - struck for u in mine), default=0.0)
        silent = max((self.probes.silence_s(u, began - 0.5, healed) for u in others), default=0.0)
        told = f"its {len(mine)} users served after {served:.1f} s, " if fault.node else ""
        print(f"{began - self.probes.began:6.1f} s  {fault.name}: {told}{len(others)} others silent for {silent:.1f} s, all served {healed - over:.1f} s after it", flush=True)
        if self.timed and fault.served_in_s and served > fault.served_in_s:
            self.complaints.append(f"{fault.name}: its users were served after {served:.1f} s, {fault.served_in_s:.1f} s are allowed")
        if self.timed and fault.others_go_on and silent > 1.0:
            self.complaints.append(f"{fault.name}: users of other nodes were silent for {silent:.1f} s")
