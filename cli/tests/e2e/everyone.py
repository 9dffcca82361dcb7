#!/usr/bin/env python3
"""Messages to everyone, messages taken back, and receipts, as callers and clients see them.

  everyone.py [dev] [cluster]          without a word: both

`dev`: one `pushgate dev`. `cluster`: gateway and dispatcher as processes of their own on real Kafka and Redis, those that
PUSHGATE_TEST_KAFKA and PUSHGATE_TEST_REDIS name, else those of `scripts/services up`. Each also with kill -9 while messages to everyone are
sent.
"""

import argparse
import asyncio
import http.client
import os
import subprocess
import tempfile
import time

import server
import services
from client import Client
from dev import Dev
from nodes import SECRET, Nodes
from services import Topic, value
from verdict import Verdict

verdict = Verdict()

KILLED_MESSAGES = 120
KILLS = 3


class Form:
    """What both forms have in common."""

    def __init__(self, name, target, headers, flag, kill):
        self.name, self.target, self.headers, self.flag, self.kill = name, target, headers, flag, kill
        self.clients = []

    def client(self, user, device="phone", **more):
        client = Client(user, device, self.target.url, self.target.token, **more).start()
        self.clients.append(client)
        return client

    async def greeted(self, user, device="phone", **more):
        client = self.client(user, device, **more)
        await asyncio.wait_for(client.online.wait(), 60)
        return client

    async def rest(self, method, path, body=None):
        return await asyncio.to_thread(server.http_json, self.target.rest, method, path, body, self.headers)

    async def send(self, ident, to, **more):
        """Sends and repeats until it is accepted, as a caller does whose dispatcher is killed."""
        body = {"id": ident, "to": to, "content": {"title": "t", "body": f"body of {ident}"}, **more}
        until = time.monotonic() + 90
        while True:
            try:
                status, answer = await self.rest("POST", "/v1/messages", body)
            except (OSError, http.client.HTTPException) as error:
                status, answer = 0, error
            if status == 202:
                return
            if status not in (0, 429, 503) or time.monotonic() > until:
                raise server.Failed(f"{ident} is not accepted: {status} {answer}")
            await asyncio.sleep(0.05)

    async def summary(self, ident):
        status, answer = await self.rest("GET", f"/v1/messages/{ident}")
        return answer["summary"] if status == 200 else {}

    def command(self, *words):
        done = subprocess.run([server.binary(), words[0], *self.flag, *words[1:]], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def fact(self, holds, what, detail=""):
        return verdict.fact(holds, f"{self.name}: {what}", detail)

    async def drained(self, client):
        """Everything that was on its way to the client is there: a push sent now comes after it."""
        ident = f"drain-{time.monotonic_ns()}"
        await self.send(ident, {"users": [client.user]})
        return await until(lambda: ident in client.ids())

    async def stop(self):
        await asyncio.gather(*(client.stop() for client in self.clients))


async def until(question, seconds=30):
    """Asks until the answer is true, at most `seconds`; the last answer."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        answer = await answer if asyncio.iscoroutine(answer) else answer
        if answer or time.monotonic() >= end:
            return answer
        await asyncio.sleep(0.02)


async def now_and_later(form):
    phone, laptop = await form.greeted("alice"), await form.greeted("alice", "laptop")
    carol = await form.greeted("carol", acknowledges=False)
    dave = await form.greeted("dave")
    await form.send("all-1", {"all": True, "exclude": ["dave"]}, meta={"n": 1})
    for who, client in (("a user's phone", phone), ("the same user's laptop", laptop), ("another user", carol)):
        form.fact(await until(lambda c=client: "all-1" in c.ids()), f"{who} that is connected has it now", client.log)
    push = next((push for push in phone.log if push.id == "all-1"), None)
    form.fact(push and (push.stream, push.body) == ("all", "body of all-1"), "it says that it is for everyone", push)
    await form.drained(dave)
    form.fact("all-1" not in dave.ids(), "who is excluded has it not", dave.log)
    bob = await form.greeted("bob")
    form.fact(await until(lambda: "all-1" in bob.ids()), "who connects later has it by replay", bob.log)
    form.fact(all(push.replay for push in bob.log if push.id == "all-1"), "and it says so", bob.log)
    counted = await until(lambda: is_summary(form, "all-1", {"stored": 1, "delivered": 2}))
    form.fact(counted, "its users are counted", await form.summary("all-1"))
    await asyncio.gather(bob.stop(), phone.stop(), laptop.stop(), carol.stop(), dave.stop())
    again = [await form.greeted("bob"), await form.greeted("alice", "tablet")]
    for client in again:
        await form.drained(client)
        form.fact("all-1" not in client.ids(), f"{client.user}, who acknowledged it, is not sent it again", client.log)
    carol, dave = await form.greeted("carol"), await form.greeted("dave")
    form.fact(await until(lambda: "all-1" in carol.ids()), "who did not acknowledge it is sent it again", carol.log)
    await form.drained(carol)
    form.fact(carol.ids().count("all-1") == 1, "once", carol.log)
    await form.drained(dave)
    form.fact("all-1" not in dave.ids(), "who is excluded has it not by replay either", dave.log)
    await asyncio.gather(*(client.stop() for client in (*again, carol, dave)))


async def is_summary(form, ident, wanted):
    return await form.summary(ident) == wanted


async def taken_back(form):
    alice, lazy = await form.greeted("alice"), await form.greeted("carol", acknowledges=False)
    await form.send("all-2", {"all": True})
    for client in (alice, lazy):
        form.fact(await until(lambda c=client: "all-2" in c.ids()), f"{client.user} has all-2", client.log)
    code, out, err = await asyncio.to_thread(form.command, "recall", "all-2")
    form.fact((code, out, err) == (0, "", ""), "recall takes it back", (code, out, err))
    for client in (alice, lazy):
        form.fact(await until(lambda c=client: "all-2" in c.recalls), f"{client.user}'s session is told", client.recalls)
    await lazy.stop()
    late = [await form.greeted("erin"), await form.greeted("carol")]
    for client in late:
        await form.drained(client)
        form.fact("all-2" not in client.ids(), f"{client.user}, who connects later, has it not", client.log)
    summary = await form.summary("all-2")
    form.fact(summary.get("recalled") == 1 and not summary.get("stored"), "its state says so", summary)
    await form.send("one-1", {"users": ["frank"]})
    form.fact(await until(lambda: is_summary(form, "one-1", {"stored": 1})), "a push for one user is stored", await form.summary("one-1"))
    for _ in range(2):
        status, answer = await form.rest("DELETE", "/v1/messages/one-1")
        form.fact((status, answer) == (202, {"id": "one-1"}), "DELETE is answered 202, also again", (status, answer))
    frank = await form.greeted("frank")
    await form.drained(frank)
    form.fact("one-1" not in frank.ids(), "and is not sent any more", frank.log)
    form.fact(await form.summary("one-1") == {"recalled": 1}, "its state is recalled", await form.summary("one-1"))
    hank = await form.greeted("hank", acknowledges=False)
    await form.send("one-3", {"users": ["hank"]})
    form.fact(await until(lambda: "one-3" in hank.ids()), "a push is sent and not acknowledged", hank.log)
    await form.rest("DELETE", "/v1/messages/one-3")
    form.fact(await until(lambda: "one-3" in hank.recalls), "the session that holds it is told", hank.recalls)
    recalled = await until(lambda: is_summary(form, "one-3", {"recalled": 1}))
    form.fact(recalled, "and the only recipient is the user", await form.rest("GET", "/v1/messages/one-3"))
    await hank.stop()
    hank = await form.greeted("hank")
    await form.drained(hank)
    form.fact("one-3" not in hank.ids(), "nor does it come again", hank.log)
    await hank.stop()
    status, answer = await form.rest("DELETE", "/v1/messages/never-sent")
    form.fact(status == 404 and answer["code"] == "not_found", "an unknown message is 404", (status, answer))
    await asyncio.gather(alice.stop(), frank.stop(), *(client.stop() for client in late))


async def receipts(form):
    alice = await form.greeted("alice")
    await form.send("one-2", {"users": ["alice"]})
    form.fact(await until(lambda: "one-2" in alice.ids()), "alice has one-2", alice.log)
    form.fact(await until(lambda: is_summary(form, "one-2", {"delivered": 1})), "it is delivered", await form.summary("one-2"))
    for event, state in (("read", "read"), ("clicked", "clicked")):
        await alice.say({"type": "receipt", "ids": ["one-2"], "event": event})
        form.fact(await until(lambda s=state: is_summary(form, "one-2", {s: 1})), f"its state is {state}", await form.summary("one-2"))
    await alice.stop()


async def by_command(form):
    alice = await form.greeted("alice")
    code, out, err = await asyncio.to_thread(form.command, "send", "--all", "--title", "Hi", "--body", "there", "--class", "marketing")
    form.fact(code == 0 and "stored for everyone" in err, "send --all says that it is stored for everyone", (code, out, err))
    form.fact(await until(lambda: out.strip() in alice.ids()), "send --all reaches who is connected", (out, alice.log))
    await alice.stop()


async def while_killed(form):
    there = [await form.greeted(f"there-{n}") for n in range(8)]
    sent = [f"kill-{n}" for n in range(KILLED_MESSAGES)]
    at = asyncio.Semaphore(0)

    async def send(ident):
        await form.send(ident, {"all": True})
        at.release()

    async def kill():
        for _ in range(KILLS):
            for _ in range(KILLED_MESSAGES // (KILLS + 1)):
                await at.acquire()
            await form.kill()

    killing = asyncio.create_task(kill())
    for first in range(0, len(sent), 8):
        await asyncio.gather(*(send(ident) for ident in sent[first : first + 8]))
    await killing
    late = [form.client(f"late-{n}") for n in range(3)]
    for client in (*there, *late):
        has_all = await until(lambda c=client: set(sent) <= set(c.ids()), 90)
        form.fact(has_all, f"{client.user} has every message that was accepted", sorted(set(sent) - set(client.ids()))[:5])
    await asyncio.gather(*(client.stop() for client in (*there, *late)))
    fresh = [await form.greeted(client.user, "fresh") for client in (there[0], late[0])]
    for client in fresh:
        await form.drained(client)
        left = [ident for ident in client.ids() if ident.startswith("kill-")]
        # An acknowledgement under way when a process was killed is lost with it.
        form.fact(len(left) < len(sent), f"{client.user} is not sent again what it acknowledged", left)
        print(f"{client.user}: {len(left)} of {len(sent)} came again")
    await asyncio.gather(*(client.stop() for client in fresh))


async def scenes(form):
    for scene in (now_and_later, taken_back, receipts, by_command, while_killed):
        await scene(form)


# --- forms --------------------------------------------------------------------------------------------------------


def dev(folder):
    target = Dev(folder)
    try:
        target.start()

        async def kill():
            target.process.kill()
            await asyncio.to_thread(target.start)

        asyncio.run(play(Form("dev", target, target.headers(), ["--data", target.data], kill)))
    finally:
        target.process.stop()


def cluster(folder):
    names = ("PUSHGATE_TEST_KAFKA", "PUSHGATE_TEST_REDIS")
    addresses = {name: os.environ[name] for name in names} if all(n in os.environ for n in names) else services.services("up")
    nodes = Nodes(folder, "everyone", addresses)
    topic = None
    try:
        nodes.start()
        kills = 0

        async def kill():
            nonlocal kills
            # The dispatcher, the gateway, both.
            for half in (("dispatcher",), ("gateway",), ("dispatcher", "gateway"))[kills % 3]:
                nodes.processes[half].kill()
                nodes.processes[half].start()
            kills += 1
            await asyncio.to_thread(server.wait_ready, nodes.rest)

        asyncio.run(play(Form("cluster", nodes, server.basic(nodes.app, SECRET), ["--config", nodes.config], kill)))
        topic = Topic(nodes.kafka, f"{nodes.prefix}.results")
        results(nodes, topic)
    finally:
        nodes.stop()
        if topic:
            topic.close()
        services.delete_topics(nodes.kafka, nodes.prefix)


def results(nodes, topic):
    """What the results topic says of it."""

    def found(ident, state, differs):
        """Of the records of this state the first that says all that is wanted, if one does. There may be several: a dispatcher that
        was killed before it noted how far it had read publishes the state again from the mark, which knows no device, under another key."""
        told = []

        def says_all(record):
            if not record.key() or record.key().split(b"/")[0] != ident.encode() or value(record)["state"] != state:
                return False
            told.append(differs(value(record)))
            return not told[-1]

        return topic.wait(says_all, 20), told

    known = {"app": nodes.app, "channel": "websocket", "reason": None}
    whole = {"lane": "normal", "class": "transactional"}
    wanted = (
        ("all-1", "stored", {**known, **whole, "recipient": {"user": "*"}, "meta": {"n": 1}}),
        ("all-2", "recalled", {**known, **whole, "recipient": {"user": "*"}}),
        ("one-1", "recalled", {**known, **whole, "recipient": {"user": "frank"}}),
        ("one-2", "delivered", {**known, **whole, "recipient": {"user": "alice", "device": "phone"}}),
        ("one-2", "read", {**known, "lane": None, "recipient": {"user": "alice", "device": "phone"}}),
        ("one-2", "clicked", {**known, "lane": None, "recipient": {"user": "alice", "device": "phone"}}),
    )
    for ident, state, members in wanted:
        record, told = found(ident, state, lambda have, m=members: {key: (have.get(key), want) for key, want in m.items() if have.get(key) != want})
        verdict.fact(record, f"results tell that {ident} is {state}", told or "none came")


async def play(form):
    try:
        await scenes(form)
    finally:
        await form.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("forms", nargs="*", choices=("dev", "cluster", []), default=[])
    for form in parser.parse_args().forms or ["dev", "cluster"]:
        with tempfile.TemporaryDirectory(prefix="pushgate-everyone-") as folder:
            try:
                {"dev": dev, "cluster": cluster}[form](folder)
            finally:
                server.keep_logs(folder, f"everyone-{form}")


if __name__ == "__main__":
    verdict.run(main)
