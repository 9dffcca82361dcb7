#!/usr/bin/env python3
"""configs/haproxy.cfg, with a real HAProxy, two gateways and a dispatcher: clients that come to its one address are sent to the path of the gateway that owns their
user, and are no guests there; those that stay are served as guests. After kill -9 of a gateway its path answers 503, and its clients are served at the one address.

  haproxy.py [--users N]
"""

import argparse
import asyncio
import json
import os
import tempfile

import server
import websockets
from client import Client
from guests import APP, KEY, Cluster, Sent, metric, until
from proxy import Proxy
from verdict import Verdict

verdict = Verdict()


def told(cluster, name):
    """What each gateway's metrics say."""
    return [metric(cluster.admin[node], name) for node in ("g1", "g2")]


def answers(address):
    try:
        return server.http_json(address, "GET", "/", timeout=2)
    except OSError:
        return None


async def follow(address, user):
    """Connects, and goes where `moved` sends; how often that was, and the last socket."""
    url, moves = f"ws://{address}/v1/ws", 0
    while True:
        socket = await websockets.connect(url, additional_headers={"Authorization": f"Bearer {server.mint(KEY.encode(), APP, user, 'd')}"}, compression=None)
        # `moved` comes right after `hello`, so before the answer to what is asked then.
        await socket.send(json.dumps({"type": "ping"}))
        frames = []
        while not frames or frames[-1]["type"] not in ("moved", "pong"):
            frames.append(json.loads(await asyncio.wait_for(socket.recv(), 30)))
        if frames[-1]["type"] == "pong":
            return moves, socket
        await socket.close()
        url, moves = frames[-1]["url"], moves + 1


async def status_of(address, path, user):
    """What a request for a WebSocket is answered."""
    try:
        async with websockets.connect(f"ws://{address}{path}", additional_headers={"Authorization": f"Bearer {server.mint(KEY.encode(), APP, user, 'd')}"}):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def run(cluster, address, users):
    verdict.fact(await until(lambda: answers(address)), "HAProxy takes the sample and listens")
    found = [await asyncio.to_thread(cluster.locate, address, f"user-{n}") for n in range(users)]
    owners = [answer["node"] for status, answer in found if status == 200]
    verdict.fact(len(owners) == users and set(owners) == {"g1", "g2"}, "the one address locates every user", found[:3])
    verdict.fact(all(a["url"] == f"ws://{address}/{a['node']}/v1/ws" for _, a in found), "by the paths of their gateways", found[:3])

    came = await asyncio.gather(*(follow(address, f"user-{n}") for n in range(users)))
    moves = [moves for moves, _ in came]
    verdict.fact(set(moves) <= {0, 1} and sum(moves) > 0, f"{sum(moves)} of {users} clients are sent on, once", moves)
    # Their first connections end meanwhile.
    verdict.fact(await until(lambda: told(cluster, "pushgate_guests") == [0, 0]), "and nobody is a guest then", told(cluster, "pushgate_guests"))
    for n, (_, socket) in enumerate(came):
        await asyncio.to_thread(cluster.send, f"there-{n}", f"user-{n}")
        push = json.loads(await asyncio.wait_for(socket.recv(), 30))
        if push.get("id") != f"there-{n}":
            verdict.fact(False, "each gets its push there", push)
        await socket.send(json.dumps({"type": "ack", "seq": push["seq"]}))
    await asyncio.gather(*(socket.close() for _, socket in came))
    await stay(cluster, address, users, owners)


async def stay(cluster, address, users, owners):
    """Clients that ignore `moved`, and a gateway that dies."""
    clients = [Client(f"user-{n}", "d", lambda: f"ws://{address}", lambda u, d: server.mint(KEY.encode(), APP, u, d)).start() for n in range(users)]
    sent = Sent(cluster, clients)
    try:
        await asyncio.gather(*(asyncio.wait_for(client.online.wait(), 30) for client in clients))
        spread = await until(lambda: min(told(cluster, "pushgate_sessions")) > 0 and sum(told(cluster, "pushgate_sessions")) == users)
        verdict.fact(spread, "those that stay are spread over both gateways", told(cluster, "pushgate_sessions"))
        await sent.round("calm", 3)
        verdict.fact(await until(lambda: not sent.missing()), "and every push arrives", sent.missing())
        cluster.processes["g1"].kill()
        dead = next(n for n in range(users) if owners[n] == "g1")
        # Its listening socket may outlive it by a moment: the kernel takes a ring apart after the process. Then it is 502.
        statuses = [await status_of(address, "/g1/v1/ws", f"user-{dead}")]
        while statuses[-1] == 502 and len(statuses) < 100:
            await asyncio.sleep(0.05)
            statuses.append(await status_of(address, "/g1/v1/ws", f"user-{dead}"))
        verdict.fact(statuses[-1] == 503, "the path of a gateway that was killed answers 503", statuses)
        await sent.round("killed", 3)
        back = await until(lambda: all(client.online.is_set() for client in clients), 60)
        verdict.fact(back, "its clients are served at the one address")
        cluster.processes["g1"].start()
        verdict.fact(await until(lambda: not sent.missing(), 90), "and nothing is lost", json.dumps(sent.missing())[:2000])
    finally:
        await asyncio.gather(*(client.stop() for client in clients))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pushgate-haproxy-") as folder:
        port = server.free_port()
        cluster = Cluster(folder, url=f"ws://127.0.0.1:{port}/{{node}}/v1/ws", gateway='forwarded_header = "x-forwarded-for"\ntrusted_proxies = ["127.0.0.0/8"]')
        proxy = None
        try:
            cluster.start()
            proxy = Proxy(folder, [(cluster.ws[node], cluster.admin[node]) for node in ("g1", "g2")], [cluster.rest] * 2, port, server.free_port())
            asyncio.run(run(cluster, f"127.0.0.1:{port}", arguments.users))
        finally:
            if proxy:
                proxy.stop()
            cluster.stop()
            server.keep_logs(folder, f"haproxy-{os.getpid()}")


if __name__ == "__main__":
    verdict.run(main)
