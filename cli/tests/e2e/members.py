#!/usr/bin/env python3
"""Gateways that join the member list in Redis, leave it and die, on real Kafka and Redis.

  members.py [--users N]

Two gateways and two dispatchers; a third gateway joins; one is killed with kill -9; Redis is stopped longer
than a lease and started again; one is drained by `pushgate cluster drain`, after `status` and `locate` have told the truth. Each user has a device at every gateway, so that whichever owns the user has a session of it; pushes are
sent all the while over REST, and each must arrive, by its id. Services of its own, in PUSHGATE_SERVICES_DIR or a temporary directory.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import tempfile
import time

import server
import services
from client import Client
from nodes import KEY, SECRET
from verdict import Verdict

verdict = Verdict()

LEASE_MS = 3000
CONFIG = """
[gateway]
node = "{node}"
listen = "127.0.0.1:{ws}"
links = "127.0.0.1:{links}"
admin = "127.0.0.1:{admin}"
shards = 2
[gateway.limits]
drain_grace_ms = 500
[dispatcher]
node = "{node}"
listen = "127.0.0.1:{rest}"
source = "kafka"
data = "{data}"
ack_deadline_ms = 2000
[store]
kind = "redis"
member_lease_ms = {lease}
[kafka]
brokers = "{kafka}"
group = "{name}"
prefix = "{name}"
[redis]
url = "{redis}"
[links]
key = "a key for this test run alone"
[[apps]]
id = "{name}"
secrets = [{{ id = "s1", secret = "{secret}", scopes = ["send", "admin"] }}]
keys = [{{ kind = "jwt", alg = "HS256", key = "{key}", kid = "k1" }}]
"""


class Node:
    """One process with a configuration of its own."""

    def __init__(self, cluster, half, node):
        self.node, self.ports = node, {port: server.free_port() for port in ("ws", "links", "admin", "rest")}
        self.base = base = f"{cluster.folder}/{node}"
        with open(f"{base}.toml", "w", encoding="utf-8") as file:
            file.write(CONFIG.format(
                node=node, name=cluster.name, data=f"{base}-data", lease=LEASE_MS, secret=SECRET, key=KEY,
                kafka=cluster.addresses["PUSHGATE_TEST_KAFKA"], redis=cluster.addresses["PUSHGATE_TEST_REDIS"], **self.ports))
        self.log = f"{base}.log"
        self.process = server.Process(node, [half, "--config", f"{base}.toml"], {}, self.log).start()
        self.admin = f"127.0.0.1:{self.ports['admin' if half == 'gateway' else 'rest']}"
        cluster.nodes.append(self)

    def url(self):
        return f"ws://127.0.0.1:{self.ports['ws']}"

    def cluster(self, *arguments):
        """`pushgate cluster … --json` with this node's configuration: exit code, what it printed, what it said on stderr."""
        command = [server.binary(), "cluster", *arguments, "--json", "--config", f"{self.base}.toml"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    def metric(self, name):
        """The value of a metric without labels, or None."""
        try:
            _, text = server.http_json(self.admin, "GET", "/metrics", timeout=5)
        except OSError:
            return None
        found = re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text.decode(), re.M)
        return found and float(found[1])

    def readiness(self):
        try:
            return server.http_json(self.admin, "GET", "/readyz", timeout=5)
        except OSError as error:
            return 0, str(error)


class Cluster:
    def __init__(self, folder, users):
        self.folder, self.name = folder, f"members-{os.getpid()}"
        self.addresses = services.services("up", "kafka", "redis")
        services.create_topics(self.addresses["PUSHGATE_TEST_KAFKA"], self.name)
        self.nodes, self.clients, self.sent = [], [], []
        self.users = [f"user-{n}" for n in range(users)]

    async def gateway(self, node):
        gateway = Node(self, "gateway", node)
        # Ready once it has joined and a dispatcher is linked to every shard.
        await asyncio.to_thread(server.wait_ready, gateway.admin)
        token = lambda user, device: server.mint(KEY.encode(), self.name, user, device)
        mine = [Client(user, f"{user}-{node}", gateway.url, token).start() for user in self.users]
        await asyncio.gather(*(asyncio.wait_for(client.online.wait(), 30) for client in mine))
        self.clients += mine
        return gateway

    async def stop(self):
        for client in self.clients:
            await client.stop()
        for node in self.nodes:
            node.process.stop()

    async def send_on(self, dispatchers):
        """Sends to one user after another until it is cancelled; what a dispatcher accepted is to arrive."""
        n = 0
        while True:
            user, ident = self.users[n % len(self.users)], f"m{n}"
            body = {"id": ident, "to": {"users": [user]}, "content": {"title": "t", "body": ident}}
            try:
                status, _ = await asyncio.to_thread(
                    server.http_json, dispatchers[n % len(dispatchers)].admin, "POST", "/v1/messages", body,
                    server.basic(self.name, SECRET), 10)
            except OSError:
                status = 0
            if status == 202:
                self.sent.append((user, ident))
            n += 1
            await asyncio.sleep(0.01)

    def missing(self):
        have = {(client.user, ident) for client in self.clients for ident in client.ids()}
        return [push for push in self.sent if push not in have]


async def until(question, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = await asyncio.to_thread(question)
        if answer:
            return answer
        await asyncio.sleep(0.05)
    return None


async def all_see(nodes, members, what, seconds=30):
    """Every node has a list of so many members, all of one epoch."""
    def agree():
        gateways = [(node.metric("pushgate_cluster_epoch"), node.metric("pushgate_cluster_members")) for node in nodes if node.node[0] == "g"]
        dispatchers = [
            (node.metric("pushgate_dispatcher_cluster_epoch"), node.metric("pushgate_dispatcher_cluster_members"))
            for node in nodes if node.node[0] == "d"
        ]
        seen = set(gateways + dispatchers)
        return seen.pop() if len(seen) == 1 and next(iter(seen))[1] == members else None
    began = time.monotonic()
    agreed = await until(agree, seconds)
    verdict.fact(agreed, f"{what}: all nodes have the same {members} members, after {time.monotonic() - began:.1f} s",
                 [(node.node, node.metric("pushgate_cluster_members")) for node in nodes])
    return agreed


async def all_arrived(cluster, what, seconds=30):
    before = len(cluster.sent)
    await until(lambda: not cluster.missing(), seconds)
    missing = cluster.missing()
    # What was sent a moment ago is under way.
    missing = [push for push in missing if push in cluster.sent[:before]]
    verdict.fact(not missing, f"{what}: all of {before} pushes arrived", f"{len(missing)} did not, such as {missing[:5]}")


async def run(folder, users):
    cluster = Cluster(folder, users)
    sending = None
    try:
        d1, d2 = Node(cluster, "dispatcher", "d1"), Node(cluster, "dispatcher", "d2")
        g1, g2 = await asyncio.gather(cluster.gateway("g1"), cluster.gateway("g2"))
        await all_see([g1, g2, d1, d2], 2, "two gateways joined")
        sending = asyncio.create_task(cluster.send_on([d1, d2]))
        await asyncio.sleep(2)
        g3 = await cluster.gateway("g3")
        await all_see([g1, g2, g3, d1, d2], 3, "a third joined under load")
        await asyncio.sleep(2)
        taken = g3.metric("pushgate_pushes_acked_total")
        verdict.fact(taken, "the newcomer has pushes of its own", taken)
        g2.process.kill()
        await all_see([g1, g3, d1, d2], 2, "one was killed with kill -9", LEASE_MS / 1000 + 3)
        await asyncio.sleep(2)
        await all_arrived(cluster, "after the kill")
        await redis_away(cluster, [g1, g3], [d1, d2])
        await asyncio.to_thread(status_is_told, cluster, d1, [g1, g3])
        await asyncio.to_thread(drained, d2, g3)
        await all_see([g1, d1, d2], 1, "one was drained", 5)
        await asyncio.sleep(1)
        sending.cancel()
        await all_arrived(cluster, "in the end", 60)
    finally:
        if sending:
            sending.cancel()
        await cluster.stop()


def status_is_told(cluster, dispatcher, gateways):
    """`pushgate cluster status` and `locate` say what the nodes say themselves."""
    code, view, said = dispatcher.cluster("status")
    members = {member["node"]: member for member in view["members"]} if code == 0 else {}
    names = [gateway.node for gateway in gateways]
    verdict.fact(code == 0 and list(members) == names, "`cluster status` names the gateways", (code, list(members), said))
    if list(members) != names:
        return
    shares = [member["share"] for member in members.values()]
    verdict.fact(abs(sum(shares) - 1) < 1e-9 and min(shares) > 0.4, "their shares are halves", shares)
    links = [(member["links_up"], member["links_wanted"]) for member in members.values()]
    verdict.fact(links == [(2, 2), (2, 2)], "a link of the dispatcher to each shard is up", links)
    told = [members[gateway.node]["gateway"].get("sessions") for gateway in gateways]
    verdict.fact(told == [len(cluster.users)] * 2, "each gateway tells its sessions", told)
    guests = sum(member["gateway"]["guests"] for member in members.values())
    verdict.fact(guests == len(cluster.users), "each user is a guest at one of the two", guests)
    share = dispatcher.metric("pushgate_dispatcher_cluster_share")
    verdict.fact(share in shares, "/metrics shows the same shares", (share, shares))
    verdict.fact({lane["lane"] for lane in view["lanes"]} == {"high", "normal", "low"}, "the lanes are told", view["lanes"])
    code, located, said = dispatcher.cluster("locate", cluster.users[0])
    token = server.mint(KEY.encode(), cluster.name, cluster.users[0], "d")
    _, asked = server.http_json(f"127.0.0.1:{gateways[0].ports['ws']}", "GET", f"/v1/locate?token={token}")
    same = code == 0 and located["node"] == asked["node"] and located["links"] == members[asked["node"]]["links"]
    verdict.fact(same, "`cluster locate` names the owner that a gateway names", (located, asked, said))


def drained(dispatcher, gateway):
    """`pushgate cluster drain` ends a gateway in order, and says why it cannot end one."""
    code, _, said = dispatcher.cluster("drain", "nobody")
    verdict.fact(code == 2 and "there is no gateway nobody" in said, "`cluster drain` knows its gateways", (code, said))
    code, told, said = dispatcher.cluster("drain", gateway.node)
    verdict.fact(code == 0 and told["gone"], f"`cluster drain` follows {gateway.node} until it is gone", (code, told, said))
    verdict.fact("draining" in said, "it tells how far it is", said)
    try:
        ended = gateway.process.child.wait(10)
    except subprocess.TimeoutExpired:
        ended = None
    verdict.fact(ended == 0, "the process has ended with 0", ended)


async def redis_away(cluster, gateways, dispatchers):
    epoch = gateways[0].metric("pushgate_cluster_epoch")
    await asyncio.to_thread(services.services, "kill", "redis")
    await until(lambda: all(gateway.metric("pushgate_cluster_standing") == 1 for gateway in gateways), LEASE_MS / 1000 + 3)
    standing = [gateway.metric("pushgate_cluster_standing") for gateway in gateways]
    verdict.fact(standing == [1, 1], "without Redis and past the lease the gateways are frozen", standing)
    status, body = gateways[0].readiness()
    named = status == 200 and any(w["what"] == "membership" and w["since_ms"] for w in body.get("warnings", []))
    verdict.fact(named, "/readyz of a frozen gateway names the member list, and since when", (status, body))
    status, body = dispatchers[0].readiness()
    failing = [f["what"] for f in body.get("failing", [])] if status else body
    verdict.fact(status == 503 and "member list" in failing, "/readyz of a dispatcher names it too", (status, failing))
    await asyncio.sleep(LEASE_MS / 1000)
    await asyncio.to_thread(services.services, "restart", "redis")
    await until(lambda: all(gateway.metric("pushgate_cluster_standing") == 0 for gateway in gateways))
    standing = [gateway.metric("pushgate_cluster_standing") for gateway in gateways]
    verdict.fact(standing == [0, 0], "with Redis back they own their users again", standing)
    await asyncio.sleep(1)
    after = [node.metric("pushgate_cluster_epoch") for node in gateways]
    verdict.fact(after == [epoch, epoch], "the outage changed no owner", (epoch, after))
    await all_arrived(cluster, "after Redis was away")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=40)
    users = parser.parse_args().users
    with tempfile.TemporaryDirectory(prefix="pushgate-members-") as folder, services.private():
        try:
            asyncio.run(run(folder, users))
        finally:
            server.keep_logs(folder, "members")


if __name__ == "__main__":
    verdict.run(main)
