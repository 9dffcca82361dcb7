#!/usr/bin/env python3
"""Kills processes with -9 in the middle of accepted sends, and judges that nothing was lost.

  chaos.py dev      [--messages 100000] [--kills 3] [--seed N]
  chaos.py pair     [--messages 60000] [--rounds 2] [--seed N]

`dev` sends by REST to connected and absent users while `pushgate dev` is killed. `pair` produces to Kafka while dispatcher, gateway,
Redis and Kafka are killed in turn, each `rounds` times, with at least 1,000 pushes in flight; for that it sends more than `messages`
where the cluster is as fast as the sending. On services of its own, in
PUSHGATE_SERVICES_DIR or a temporary directory. Exit 0: nothing lost. The servers' logs are kept in target/e2e-logs.
"""

import argparse
import asyncio
import concurrent.futures
import http.client
import json
import random
import re
import sys
import tempfile
import time

import server
import services
from client import Client
from dev import Dev
from judge import judge
from nodes import Nodes

QUIET_S = 60
IN_FLIGHT_MIN = 1000


def body_of(ident):
    return f"number {int(ident[2:])}"


def tally(clients):
    """Distinct pushes seen by connected clients so far."""
    return len({push.id for client in clients for push in client.log})


def lately(clients, seconds):
    """Pushes whose acknowledgement may not have been settled yet."""
    since = time.monotonic() - seconds
    return sum(1 for client in clients for push in reversed(client.log[-5000:]) if push.at > since)


async def online(clients, seconds=60):
    """Waits until every client is greeted."""
    waits = [asyncio.wait_for(client.online.wait(), seconds) for client in clients]
    late = sum(isinstance(answer, Exception) for answer in await asyncio.gather(*waits, return_exceptions=True))
    if late:
        errors = [client.errors[-1] for client in clients if client.errors][:3]
        raise server.Failed(f"{late} of {len(clients)} clients are not connected after {seconds} s: {errors}")


async def settle(accepted, clients, seconds, what):
    """Waits until every accepted push of the clients' users was seen, at most `seconds`."""
    users = {client.user for client in clients}
    wanted = {message for message, user in accepted.items() if user in users}
    until = time.monotonic() + seconds
    while True:
        seen = {push.id for client in clients for push in client.log}
        if wanted <= seen or time.monotonic() > until:
            break
        await asyncio.sleep(0.25)
    took = seconds - max(0, until - time.monotonic())
    print(f"{what}: {len(wanted & seen)} of {len(wanted)} seen after {took:.1f} s", flush=True)


async def empty_streams(make, users):
    """A fresh session of each user must be sent nothing: its stream is empty."""
    fresh = [make(user, "fresh").start() for user in users]
    await online(fresh)
    await asyncio.sleep(3)
    left = [push.id for client in fresh for push in client.log]
    await asyncio.gather(*(client.stop() for client in fresh))
    return [f"{len(left)} pushes were still in the streams of connected users, e.g. {left[:3]}"] if left else []


# --- dev ----------------------------------------------------------------------------------------------------------


class RestSender:
    """Sends messages by REST in batches, each repeated with its ids until it is accepted."""

    def __init__(self, dev, users):
        self.dev, self.users, self.headers = dev, users, dev.headers()
        self.accepted, self.submitted = {}, set()

    def user_of(self, n):
        return self.users[n % len(self.users)]

    async def send(self, numbers, lanes=8, batch=100):
        queue = [numbers[at : at + batch] for at in range(0, len(numbers), batch)]
        queue.reverse()
        # Threads of their own: they wait for the server, and starting it again must not wait for them.
        with concurrent.futures.ThreadPoolExecutor(lanes) as pool:

            async def worker():
                while queue:
                    chunk = queue.pop()
                    self.submitted.update(chunk)
                    await asyncio.get_running_loop().run_in_executor(pool, self.until_accepted, chunk)
                    self.accepted |= {f"m-{n:07}": self.user_of(n) for n in chunk}

            await asyncio.gather(*(worker() for _ in range(lanes)))

    def until_accepted(self, chunk):
        ids = [f"m-{n:07}" for n in chunk]
        body = {"messages": [
            {"id": ident, "to": {"users": [self.user_of(n)]}, "content": {"title": "t", "body": body_of(ident)}}
            for n, ident in zip(chunk, ids)
        ]}
        until = time.monotonic() + 120
        while True:
            try:
                status, answer = server.http_json(self.dev.rest, "POST", "/v1/messages/batch", body, self.headers)
            except (OSError, http.client.HTTPException) as error:
                status, answer = 0, error
            if status == 202:
                break
            # 0: killed. 429 and 503 ask to come again.
            if status not in (0, 429, 503) or time.monotonic() > until:
                raise server.Failed(f"a batch is not accepted: {status} {answer}")
            time.sleep(0.05)
        refused = [item for item in answer["items"] if item["status"] not in ("accepted", 202)]
        if refused or [item["id"] for item in answer["items"]] != ids:
            raise server.Failed(f"a batch was answered 202, with {refused[:1] or answer}")


async def chaos_dev(options, folder):
    rng = random.Random(options.seed)
    dev = Dev(folder)
    try:
        dev.start()
        users = [f"user-{n:03}" for n in range(100)]
        connected, absent = users[:60], users[60:]
        make = lambda user, device: Client(user, device, dev.url, dev.token)
        clients = [make(user, "d1").start() for user in connected]
        clients += [make(user, "d2").start() for user in connected[:5]]
        await online(clients)
        sender = RestSender(dev, users)
        sending = asyncio.create_task(sender.send(list(range(options.messages))))
        in_flight = 0
        for point in sorted(rng.uniform(0.1, 0.9) for _ in range(options.kills)):
            while len(sender.accepted) < point * options.messages and not sending.done():
                await asyncio.sleep(0.01)
            mine = sum(1 for n in sender.submitted if n % len(users) < len(connected))
            now = mine - tally(clients) + lately(clients, 1.0)
            in_flight += now
            dev.process.kill()
            print(f"killed dev at {len(sender.accepted)} accepted, {now} in flight", flush=True)
            await asyncio.sleep(rng.uniform(0, 0.5))
            await asyncio.to_thread(dev.start)
        await sending
        await settle(sender.accepted, clients, QUIET_S, "connected users")
        late = [make(user, "d1").start() for user in absent]
        await settle(sender.accepted, late, QUIET_S, "absent users, now connected")
        await asyncio.sleep(2)
        complaints = judge(sender.accepted, clients + late, in_flight, body_of)
        complaints += await empty_streams(make, users)
        await asyncio.gather(*(client.stop() for client in clients + late))
        code = await asyncio.to_thread(dev.process.interrupt)
        return complaints + ([f"Ctrl-C ended with {code}"] if code else [])
    finally:
        dev.process.stop()


async def in_the_middle(clients, producer, sending, share, rng):
    """Waits for a moment in the middle of deliveries: some of a share have come, and at least `IN_FLIGHT_MIN` have not. Returns how
    many have not. Where the cluster delivers as fast as it is sent to, such a moment is made: more are sent while clients do not read."""
    began = tally(clients)
    threshold = began + rng.randrange(1, share // 2)
    until = time.monotonic() + QUIET_S
    while (seen := tally(clients)) < threshold:
        if time.monotonic() > until:
            raise server.Failed(f"{seen - began} of {producer.submitted - began} pushes came in {QUIET_S} s")
        await asyncio.sleep(0.005)
    while not sending.done():
        await asyncio.sleep(0.005)
        if (now := producer.submitted - tally(clients)) >= IN_FLIGHT_MIN:
            return now
    # The last of these moments is at the send itself, when nothing of it can have come.
    for pause in (rng.uniform(0, 0.05), rng.uniform(0, 0.02), 0):
        producer.send(2 * IN_FLIGHT_MIN)
        if pause:
            await asyncio.sleep(pause)
        if (now := producer.submitted - tally(clients)) >= IN_FLIGHT_MIN:
            break
    return now


async def flowing(clients, producer, more, fault):
    """Waits until `more` pushes came since the fault before, or all did: the next one shall not hit a cluster that stands still."""
    began = tally(clients)
    until = time.monotonic() + QUIET_S
    while (seen := tally(clients)) < min(began + more, producer.submitted):
        producer.producer.poll(0)
        if time.monotonic() > until:
            raise server.Failed(f"{QUIET_S} s after kill -9 of {fault}, {seen - began} pushes came of {producer.submitted - began}")
        await asyncio.sleep(0.02)


# --- pair ---------------------------------------------------------------------------------------------------------


async def fail(nodes, name, rng):
    """kill -9, a short pause, start again."""
    if name in nodes.processes:
        nodes.processes[name].kill()
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        nodes.processes[name].start()
    else:
        await asyncio.to_thread(services.services, "kill", name)
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        await asyncio.to_thread(services.services, "restart", name)


class KafkaProducer:
    """An idempotent producer; `accepted` holds what the broker acknowledged."""

    def __init__(self, nodes, users):
        from confluent_kafka import Producer

        self.nodes, self.users = nodes, users
        self.accepted, self.submitted, self.refused = {}, 0, []
        self.producer = Producer({
            "bootstrap.servers": nodes.kafka, "enable.idempotence": True, "linger.ms": 1, "log_level": 2,
            "message.timeout.ms": 300000, "queue.buffering.max.messages": 500000,
        })

    def send(self, count):
        first = self.submitted
        for n in range(first, first + count):
            user = self.users[n % len(self.users)]
            ident = f"m-{n:07}"
            value = json.dumps({"v": 1, "id": ident, "app": self.nodes.app, "to": {"users": [user]},
                                "content": {"title": "t", "body": body_of(ident)}})

            def done(error, _message, ident=ident, user=user):
                if error is None:
                    self.accepted[ident] = user
                else:
                    self.refused.append(f"{ident}: {error}")

            topic = f"{self.nodes.prefix}.{('high', 'normal')[(n % len(self.users)) % 2]}"
            self.producer.produce(topic, value, key=user, on_delivery=done)
            self.submitted += 1
            if n % 500 == 0:
                self.producer.poll(0)
        self.producer.poll(0)

    def flush(self):
        left = self.producer.flush(180)
        if left or self.refused:
            raise server.Failed(f"the producer could not bring everything to Kafka: {left} left, refused {self.refused[:3]}")


async def chaos_pair(options, folder):
    rng = random.Random(options.seed)
    nodes = Nodes(folder, "chaos", services.services("up"))
    users = [f"user-{n:03}" for n in range(200)]
    producer = KafkaProducer(nodes, users)
    try:
        nodes.start()
        make = lambda user, device: Client(user, device, nodes.url, nodes.token)
        clients = [make(user, "d1").start() for user in users] + [make(user, "d2").start() for user in users[:10]]
        await online(clients)
        faults = [name for name in ("dispatcher", "gateway", "redis", "kafka") for _ in range(options.rounds)]
        rng.shuffle(faults)
        share = options.messages // (len(faults) + 1)
        in_flight, complaints = 0, []
        for name in faults:
            sending = asyncio.create_task(asyncio.to_thread(producer.send, share))
            unseen = await in_the_middle(clients, producer, sending, share, rng)
            unsettled = lately(clients, 1.0)
            in_flight += unseen + unsettled
            print(f"kill -9 {name}: {producer.submitted} sent, {unseen} not seen, {unsettled} seen within a second", flush=True)
            complaints += [f"{unseen} in flight at the kill of {name}"] if unseen < IN_FLIGHT_MIN else []
            await fail(nodes, name, rng)
            await sending
            await flowing(clients, producer, rng.randrange(1, share), name)
        await asyncio.to_thread(producer.send, share)
        await asyncio.to_thread(producer.flush)
        await settle(producer.accepted, clients, QUIET_S, "connected users")
        await asyncio.sleep(2)
        complaints += judge(producer.accepted, clients, in_flight, body_of)
        complaints += await empty_streams(make, users)
        dead = await asyncio.to_thread(services.Topic(nodes.kafka, f"{nodes.prefix}.dead").count)
        complaints += [f"{dead} dead letters"] if dead else []
        await asyncio.gather(*(client.stop() for client in clients))
        for name, process in nodes.processes.items():
            code = await asyncio.to_thread(process.interrupt)
            complaints += [f"Ctrl-C ended the {name} with {code}"] if code else []
        return complaints
    except server.Failed as error:
        return [str(error), await asyncio.to_thread(whereabouts, nodes, producer)]
    finally:
        nodes.stop()


def whereabouts(nodes, producer):
    """How far the messages came, for whoever reads of a failure."""
    from confluent_kafka import KafkaException

    try:
        stored = sum(services.Topic(nodes.kafka, f"{nodes.prefix}.{lane}").count() for lane in ("high", "normal"))
    except KafkaException as error:
        stored = repr(error)
    try:
        _, metrics = server.http_json(nodes.rest, "GET", "/metrics", timeout=5)
        lanes = re.findall(r"^((?:pushgate_dispatcher_)?(?:records|oldest|deliveries)_\S+ \S+)$", metrics.decode(), re.M)
    except (OSError, http.client.HTTPException) as error:
        lanes = [repr(error), f"ended with {nodes.processes['dispatcher'].child.poll()}"]
    return f"{producer.submitted} submitted, {len(producer.accepted)} acknowledged by Kafka, which has {stored}; the dispatcher: {', '.join(lanes)}"


def run(options):
    with tempfile.TemporaryDirectory(prefix="pushgate-chaos-") as folder:
        try:
            if options.form == "dev":
                return asyncio.run(chaos_dev(options, folder))
            with services.private():
                return asyncio.run(chaos_pair(options, folder))
        except server.Failed as error:
            return [str(error)]
        finally:
            server.keep_logs(folder, f"chaos-{options.form}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=("dev", "pair"))
    parser.add_argument("--messages", type=int)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    options.messages = options.messages or {"dev": 100_000, "pair": 60_000}[options.form]
    server.end_on_sigterm()
    print(f"seed {options.seed}", flush=True)
    complaints = run(options)
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    print(f"{'failed' if complaints else 'passed'}, seed {options.seed}")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
