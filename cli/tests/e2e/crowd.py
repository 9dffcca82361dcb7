#!/usr/bin/env python3
"""Many connected users, some with two devices, numbered pushes each: right sockets, in order, no push crosses a shard.

  crowd.py [--users 10000] [--pushes 100] [--shards 4]
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
import urllib.request

import server
from client import Client
from dev import Dev
from judge import judge, out_of_order


def metric(address, name):
    """The sum of a metric over its labels; one that is not there is a failure, not 0."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    series = re.findall(rf"^{name}(?:\{{[^}}]*\}})? ([0-9.e+]+)$", text, re.MULTILINE)
    if not series:
        raise server.Failed(f"there is no metric {name}")
    return sum(map(float, series))


async def connect_all(clients, at_once=200):
    gate = asyncio.Semaphore(at_once)

    async def one(client):
        async with gate:
            client.start()
            try:
                await asyncio.wait_for(client.online.wait(), 60)
            except asyncio.TimeoutError as error:
                raise server.Failed(f"{client.user} is not connected after 60 s: {client.errors[-1:]}") from error

    await asyncio.gather(*(one(client) for client in clients))


def send(dev, headers, users, pushes, accepted):
    """Round by round, so that the order of production is known for each user."""
    for round_ in range(pushes):
        for at in range(0, len(users), 1000):
            chunk = users[at : at + 1000]
            messages = [
                {"id": f"{round_:04}-{user}", "to": {"users": [user]}, "content": {"title": "t", "body": f"round {round_}"}}
                for user in chunk
            ]
            while True:
                status, answer = server.http_json(dev.rest, "POST", "/v1/messages/batch", {"messages": messages}, headers)
                if status == 202:
                    break
                if status not in (429, 503):
                    raise server.Failed(f"batch refused: {status} {answer}")
                time.sleep(0.05)
            for message, user in zip(messages, chunk):
                accepted[message["id"]] = user


async def crowd(options):
    with tempfile.TemporaryDirectory(prefix="pushgate-crowd-") as folder:
        dev = Dev(folder, {"PUSHGATE__GATEWAY__SHARDS": str(options.shards)})
        try:
            dev.start()
            users = [f"user-{n:05}" for n in range(options.users)]
            clients = [Client(user, "d1", dev.url, dev.token) for user in users]
            clients += [Client(user, "d2", dev.url, dev.token) for user in users[:50]]
            began = time.monotonic()
            await connect_all(clients)
            print(f"{len(clients)} connected in {time.monotonic() - began:.1f} s", flush=True)
            accepted = {}
            began = time.monotonic()
            await asyncio.to_thread(send, dev, dev.headers(), users, options.pushes, accepted)
            print(f"{len(accepted)} accepted in {time.monotonic() - began:.1f} s", flush=True)
            expected = options.pushes * len(clients)
            until = time.monotonic() + 120
            while sum(len(client.log) for client in clients) < expected and time.monotonic() < until:
                await asyncio.sleep(0.2)
            complaints = judge(accepted, clients, 0, lambda message: f"round {int(message[:4])}")
            short = [client for client in clients if len(client.log) < options.pushes]
            complaints += [f"{len(short)} devices did not get every push"] if short else []
            falls = out_of_order(clients, lambda message: int(message[:4]))
            complaints += [f"{falls} pushes out of order"] if falls else []
            crossed = metric(dev.addresses["ADMIN"], "pushgate_pushes_crossed_total")
            complaints += [f"{crossed} pushes crossed a shard"] if crossed else []
            await asyncio.gather(*(client.stop() for client in clients))
            return complaints
        finally:
            dev.process.stop()
            server.keep_logs(folder, "crowd")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--pushes", type=int, default=100)
    parser.add_argument("--shards", type=int, default=4)
    options = parser.parse_args()
    server.end_on_sigterm()
    try:
        complaints = asyncio.run(crowd(options))
    except server.Failed as error:
        complaints = [str(error)]
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    print("failed" if complaints else "passed")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
