#!/usr/bin/env python3
"""Kills processes with -9 in the middle of accepted sends, and judges that nothing was lost.

  chaos.py dev      [--messages 100000] [--kills 3] [--seed N]
  chaos.py cluster  [--messages 60000] [--rounds 2] [--seed N]      (real Kafka and Redis from scripts/services)

`dev` sends by REST to connected and absent users while `pushgate dev` is killed. `cluster` produces to Kafka while dispatcher,
gateway, Redis and Kafka are killed in turn, each `rounds` times, with at least 1,000 pushes in flight. Exit 0: nothing lost.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import server
from client import Client
from dev import Dev
from judge import judge

QUIET_S = 60
IN_FLIGHT_MIN = 1000


def tally(clients):
    """Distinct pushes seen by connected clients so far."""
    return len({push.id for client in clients for push in client.log})


def lately(clients, seconds):
    """Pushes whose acknowledgement may not have been settled yet."""
    since = time.monotonic() - seconds
    return sum(1 for client in clients for push in reversed(client.log[-5000:]) if push.at > since)


async def settle(accepted, clients, seconds, what):
    """Waits until every accepted push of the clients' users was seen, at most `seconds`."""
    users = {client.user for client in clients}
    wanted = {message for message, user in accepted.items() if user in users}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        seen = {push.id for client in clients for push in client.log}
        if wanted <= seen:
            break
        await asyncio.sleep(0.25)
    print(f"{what}: {len(wanted & seen)} of {len(wanted)} seen after {seconds - max(0, until - time.monotonic()):.1f} s")


async def empty_streams(make, users):
    """A fresh session of each user must be sent nothing: its stream is empty."""
    fresh = [make(user, "fresh").start() for user in users]
    await asyncio.gather(*(asyncio.wait_for(client.online.wait(), 30) for client in fresh))
    await asyncio.sleep(3)
    left = sum(len(client.log) for client in fresh)
    await asyncio.gather(*(client.stop() for client in fresh))
    return [f"{left} pushes were still in the streams of connected users"] if left else []


# --- dev ----------------------------------------------------------------------------------------------------------


async def send_all(dev, headers, numbers, user_of, accepted, submitted, lanes=8, batch=100):
    """Sends messages by REST in batches, each repeated with its ids until it is accepted."""
    queue = [numbers[at : at + batch] for at in range(0, len(numbers), batch)]
    queue.reverse()

    def one(chunk):
        body = {"messages": [
            {"id": f"m-{n:07}", "to": {"users": [user_of(n)]}, "content": {"title": "t", "body": f"number {n}"}} for n in chunk
        ]}
        while True:
            try:
                status, answer = server.http_json(dev.rest, "POST", "/v1/messages/batch", body, headers)
            except OSError:
                time.sleep(0.05)
                continue
            if status != 202:
                time.sleep(0.05)
                continue
            bad = [item for item in answer["items"] if item["status"] not in ("accepted", 202)]
            if bad:
                raise SystemExit(f"batch item refused: {bad[0]}")
            return

    async def worker():
        while queue:
            chunk = queue.pop()
            submitted.update(chunk)
            await asyncio.to_thread(one, chunk)
            for n in chunk:
                accepted[f"m-{n:07}"] = user_of(n)

    await asyncio.gather(*(worker() for _ in range(lanes)))


async def chaos_dev(options):
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="pushgate-chaos-") as folder:
        dev = Dev(folder)
        try:
            dev.start()
            headers = dev.headers()
            users = [f"user-{n:03}" for n in range(100)]
            connected, absent = users[:60], users[60:]
            make = lambda user, device: Client(user, device, dev.url, dev.token)
            clients = [make(user, "d1").start() for user in connected]
            clients += [make(user, "d2").start() for user in connected[:5]]
            await asyncio.gather(*(asyncio.wait_for(client.online.wait(), 30) for client in clients))
            accepted, submitted = {}, set()
            user_of = lambda n: users[n % len(users)]
            sending = asyncio.create_task(
                send_all(dev, headers, list(range(options.messages)), user_of, accepted, submitted))
            points = sorted(rng.uniform(0.1, 0.9) for _ in range(options.kills))
            in_flight = 0
            for point in points:
                while len(accepted) < point * options.messages and not sending.done():
                    await asyncio.sleep(0.01)
                mine = sum(1 for n in submitted if user_of(n) in set(connected))
                now = mine - tally(clients) + lately(clients, 1.0)
                in_flight += now
                dev.process.kill()
                print(f"killed dev at {len(accepted)} accepted, {now} in flight", flush=True)
                await asyncio.sleep(rng.uniform(0, 0.5))
                await asyncio.to_thread(dev.start)
            await sending
            await settle(accepted, clients, QUIET_S, "connected users")
            late = [make(user, "d1").start() for user in absent]
            await settle(accepted, late, QUIET_S, "absent users, now connected")
            await asyncio.sleep(2)
            complaints = judge(accepted, clients + late, in_flight)
            complaints += await empty_streams(make, users)
            await asyncio.gather(*(client.stop() for client in clients + late))
            code = await asyncio.to_thread(dev.process.interrupt)
            return complaints + ([f"Ctrl-C ended with {code}"] if code else [])
        finally:
            dev.process.stop()
            keep_log(options, f"{folder}/dev.log")


# --- cluster ------------------------------------------------------------------------------------------------------

CONFIG = """
[gateway]
node = "g1"
listen = "127.0.0.1:{ws}"
links = "127.0.0.1:{links}"
admin = "127.0.0.1:{admin}"
[dispatcher]
node = "d1"
listen = "127.0.0.1:{rest}"
source = "kafka"
[store]
kind = "redis"
[kafka]
brokers = "{kafka}"
group = "{prefix}"
prefix = "{prefix}"
[redis]
url = "{redis}"
[links]
key = "a key for this test run alone"
[[members]]
node = "g1"
links = "127.0.0.1:{links}"
[[apps]]
id = "{app}"
secrets = [{{ id = "s1", secret = "the secret of the test app", scopes = ["send", "admin"] }}]
keys = [{{ kind = "jwt", alg = "HS256", key = "{key}", kid = "k1" }}]
"""
KEY = "0123456789abcdef0123456789abcdef"


def services(*words):
    out = subprocess.run([str(server.ROOT / "scripts/services"), *words], capture_output=True, text=True)
    if out.returncode:
        raise SystemExit(f"scripts/services {' '.join(words)}: {out.stdout}{out.stderr}")
    return dict(line.split("=", 1) for line in out.stdout.splitlines() if line.startswith("PUSHGATE_TEST_"))


class Cluster:
    """One gateway and one dispatcher as processes of their own, on real Kafka and Redis."""

    def __init__(self, folder, app):
        addresses = services("up")
        self.kafka = addresses["PUSHGATE_TEST_KAFKA"]
        self.app, self.prefix = app, f"chaos-{os.getpid()}"
        self.ports = {name: server.free_port() for name in ("ws", "links", "admin", "rest")}
        config = f"{folder}/cluster.toml"
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(
                kafka=self.kafka, redis=addresses["PUSHGATE_TEST_REDIS"], prefix=self.prefix, app=app, key=KEY, **self.ports))
        self.logs = {name: f"{folder}/{name}.log" for name in ("gateway", "dispatcher")}
        self.processes = {
            name: server.Process(name, [name, "--config", config], {}, self.logs[name]) for name in ("gateway", "dispatcher")
        }
        self.create_topics()

    def create_topics(self):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.kafka})
        topics = [NewTopic(f"{self.prefix}.{t}", 6, 1) for t in ("high", "normal", "low", "results", "dead")]
        for future in admin.create_topics(topics).values():
            future.result()

    def start(self):
        for process in self.processes.values():
            process.start()
        server.wait_ready(f"127.0.0.1:{self.ports['rest']}")

    def url(self):
        return f"ws://127.0.0.1:{self.ports['ws']}"

    async def fail(self, name, rng):
        """kill -9, a short pause, start again."""
        if name in self.processes:
            self.processes[name].kill()
            await asyncio.sleep(rng.uniform(0.1, 1.0))
            self.processes[name].start()
        else:
            await asyncio.to_thread(services, "kill", name)
            await asyncio.sleep(rng.uniform(0.1, 1.0))
            await asyncio.to_thread(services, "restart", name)

    def dead_letters(self):
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": f"{self.prefix}-judge"})
        topic = f"{self.prefix}.dead"
        total = 0
        for partition in consumer.list_topics(topic, timeout=20).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
            total += high - low
        consumer.close()
        return total


class KafkaProducer:
    """An idempotent producer; `accepted` holds what the broker acknowledged."""

    def __init__(self, cluster, users):
        from confluent_kafka import Producer

        self.cluster, self.users = cluster, users
        self.accepted, self.submitted = {}, 0
        self.producer = Producer({
            "bootstrap.servers": cluster.kafka, "enable.idempotence": True, "linger.ms": 1,
            "message.timeout.ms": 300000, "queue.buffering.max.messages": 500000,
        })

    def send(self, first, count):
        for n in range(first, first + count):
            user = self.users[n % len(self.users)]
            ident = f"m-{n:07}"
            value = json.dumps({"v": 1, "id": ident, "app": self.cluster.app, "to": {"users": [user]},
                                "content": {"title": "t", "body": f"number {n}"}})

            def done(error, _message, ident=ident, user=user):
                if error is None:
                    self.accepted[ident] = user

            topic = f"{self.cluster.prefix}.{('high', 'normal')[(n % len(self.users)) % 2]}"
            self.producer.produce(topic, value, key=user, on_delivery=done)
            self.submitted += 1
            if n % 500 == 0:
                self.producer.poll(0)
        self.producer.poll(0)

    def flush(self):
        if self.producer.flush(180):
            raise SystemExit("the producer could not deliver everything to Kafka")


async def chaos_cluster(options):
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="pushgate-chaos-") as folder:
        cluster = Cluster(folder, f"app{os.getpid()}")
        try:
            cluster.start()
            users = [f"user-{n:03}" for n in range(200)]
            make = lambda user, device: Client(
                user, device, cluster.url, lambda u, d: server.mint(KEY.encode(), cluster.app, u, d))
            clients = [make(user, "d1").start() for user in users] + [make(user, "d2").start() for user in users[:10]]
            await asyncio.gather(*(asyncio.wait_for(client.online.wait(), 60) for client in clients))
            faults = [name for name in ("dispatcher", "gateway", "redis", "kafka") for _ in range(options.rounds)]
            rng.shuffle(faults)
            producer = KafkaProducer(cluster, users)
            share = options.messages // (len(faults) + 1)
            in_flight = 0
            for at, name in enumerate(faults):
                sending = asyncio.create_task(asyncio.to_thread(producer.send, at * share, share))
                now = 0
                while now < IN_FLIGHT_MIN or producer.submitted < (at + rng.uniform(0.3, 0.9)) * share:
                    await asyncio.sleep(0.005)
                    now = producer.submitted - tally(clients)
                    if sending.done() and now < IN_FLIGHT_MIN:
                        raise SystemExit(f"only {now} pushes in flight: send more per fault (--messages)")
                now += lately(clients, 1.0)
                in_flight += now
                print(f"kill -9 {name}: {producer.submitted} sent, {now} in flight", flush=True)
                await cluster.fail(name, rng)
                await sending
                await asyncio.sleep(rng.uniform(0.5, 3.0))
            await asyncio.to_thread(producer.send, len(faults) * share, share)
            await asyncio.to_thread(producer.flush)
            await settle(producer.accepted, clients, QUIET_S, "connected users")
            await asyncio.sleep(2)
            complaints = judge(producer.accepted, clients, in_flight)
            complaints += await empty_streams(make, users)
            dead = await asyncio.to_thread(cluster.dead_letters)
            complaints += [f"{dead} dead letters"] if dead else []
            await asyncio.gather(*(client.stop() for client in clients))
            return complaints
        finally:
            for process in cluster.processes.values():
                process.stop()
            for log in cluster.logs.values():
                keep_log(options, log)


def keep_log(options, path):
    """Copies a server's log to target/ so that a failed run can be read."""
    if os.path.exists(path):
        target = server.ROOT / "target" / f"chaos-{options.form}-{os.path.basename(path)}"
        target.parent.mkdir(exist_ok=True)
        with open(path, "rb") as log:
            target.write_bytes(log.read())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=("dev", "cluster"))
    parser.add_argument("--messages", type=int)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    options.messages = options.messages or {"dev": 100_000, "cluster": 60_000}[options.form]
    print(f"seed {options.seed}", flush=True)
    complaints = asyncio.run({"dev": chaos_dev, "cluster": chaos_cluster}[options.form](options))
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    print(f"{'failed' if complaints else 'passed'}, seed {options.seed}")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
