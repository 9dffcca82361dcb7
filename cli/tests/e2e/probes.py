"""A few users, each sent a numbered message several times a second through Kafka, who tell how long somebody was served by nobody. They are
judged besides as any user is: nothing lost, nothing but doubles with the same id, and in order within a session."""

import asyncio
import json
import threading
import time

import server
from client import Client
from judge import compare, falls, finds_a_planted_loss

EVERY_S = 0.25
SETTLE_S = 90
FALLS_TOLD_MAX = 10


def body_of(ident):
    return f"number {int(ident[2:])}"


class Probes:
    def __init__(self, cluster, users, every_s=EVERY_S, follow=False):
        """`users`: how many, or their names."""
        from confluent_kafka import Producer

        self.cluster, self.users = cluster, [f"probe-{n:03}" for n in range(users)] if isinstance(users, int) else users
        self.every_s = every_s
        self.clients = [Client(user, "d1", lambda: f"ws://{cluster.probed}", cluster.token, follows=follow) for user in self.users]
        self.of = dict(zip(self.users, self.clients))
        # By message id: whom it is for, and when it was produced.
        self.accepted, self.sent_at, self.refused, self.n = {}, {}, [], 0
        self.over, self.began = threading.Event(), time.monotonic()
        self.producer = Producer({
            "bootstrap.servers": cluster.kafka, "enable.idempotence": True, "linger.ms": 1, "log_level": 2, "message.timeout.ms": 300000})

    async def start(self):
        waits = [asyncio.wait_for(client.start().online.wait(), 30) for client in self.clients]
        if late := sum(isinstance(answer, Exception) for answer in await asyncio.gather(*waits, return_exceptions=True)):
            raise server.Failed(f"{late} of {len(self.clients)} probes are not connected after 30 s: {self.clients[0].errors[-1:]}")
        self.sending = threading.Thread(target=self._send)
        self.sending.start()

    def _send(self):
        due = time.monotonic()
        while not self.over.wait(max(0.0, due - time.monotonic())):
            for user in self.users:
                self._produce(user)
            due = max(due + self.every_s, time.monotonic())
            self.producer.poll(0)

    def _produce(self, user):
        ident = f"p-{self.n:07}"
        self.n += 1
        value = {"v": 1, "id": ident, "app": self.cluster.name, "to": {"users": [user]}, "content": {"title": "t", "body": body_of(ident)}}

        def done(error, _message):
            if error is None:
                self.accepted[ident] = user
            else:
                self.refused.append(f"{ident}: {error}")

        self.sent_at[ident] = time.monotonic()
        self.producer.produce(f"{self.cluster.name}.high", json.dumps(value), key=user, on_delivery=done)

    def first_of(self, user, since):
        """When the first message came that was produced after `since`; None if none did."""
        came = [push.at for push in self.of[user].log if push.at > since and self.sent_at[push.id] > since]
        return min(came, default=None)

    def silence_s(self, user, since, until):
        """The longest time without a push in between."""
        came = sorted(push.at for push in self.of[user].log if since < push.at < until)
        times = [since, *came, until]
        return max(b - a for a, b in zip(times, times[1:]))

    async def flowing(self, since, seconds):
        """Waits until each user got something that was produced after `since`; those who did not."""
        until = time.monotonic() + seconds
        while True:
            waiting = [user for user in self.users if self.first_of(user, since) is None]
            if not waiting or time.monotonic() > until:
                return waiting
            await asyncio.sleep(0.05)

    async def stop(self):
        """Ends the sending, and waits for what is under way."""
        self.over.set()
        await asyncio.to_thread(self.sending.join)
        left = await asyncio.to_thread(self.producer.flush, 60)
        if left or self.refused:
            raise server.Failed(f"the probes' producer could not bring everything to Kafka: {left} left, refused {self.refused[:3]}")
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            seen = {push.id for client in self.clients for push in client.log}
            if self.accepted.keys() <= seen:
                break
            await asyncio.sleep(0.25)

    def told(self, client, before, push):
        """A push that came after a younger one, in words."""
        of = lambda p: f"{p.id}{' replayed' if p.replay else ''} sent at {self.sent_at[p.id] - self.began:.2f} s came at {p.at - self.began:.2f} s as {p.seq}"
        again = sum(other.id == push.id for other in client.log)
        return f"{client.user}: {of(push)}, {again} times, behind {of(before)} in session {push.session}"

    async def verdict(self, ordered=True):
        """The complaints; the clients are gone then. Unless `ordered`, order is told alone."""
        # A double is no fault here: its id tells it. What has another id, another text or another's user is one.
        doubles_max = len(self.accepted)
        figures, complaints = compare(self.accepted, self.clients, doubles_max, body_of)
        if not complaints and not finds_a_planted_loss(self.accepted, self.clients, doubles_max):
            complaints.append("the judge is blind: it did not miss a push that was taken out of the logs")
        out_of_order = falls(self.clients, lambda ident: int(ident[2:]))
        print(f"probes: {figures['accepted']} accepted, {figures['lost']} lost, {figures['duplicates']} came again, {len(out_of_order)} out of order within their session", flush=True)
        for fall in out_of_order[:FALLS_TOLD_MAX]:
            print(f"        {self.told(*fall)}", flush=True)
        if ordered and out_of_order:
            complaints.append(f"{len(out_of_order)} pushes of probes were out of order within their session")
        await asyncio.gather(*(client.stop() for client in self.clients))
        return complaints
