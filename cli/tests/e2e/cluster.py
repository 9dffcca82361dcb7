#!/usr/bin/env python3
"""The cluster form on real Kafka and Redis: `pushgate gateway` and `pushgate dispatcher`, each a process of its own.

  cluster.py [form] [outages]          without a word: both

`form`: what comes in by kcat reaches `pushgate listen`, results and dead letters have the contract's exact form. It uses the services
that PUSHGATE_TEST_KAFKA and PUSHGATE_TEST_REDIS name, else those of `scripts/services up`. `outages`: Kafka and Redis are missing at the
start, go away later and come back; on services of its own, in PUSHGATE_SERVICES_DIR or a temporary directory.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

import server
import services
from nodes import SECRET, Nodes
from services import Topic, value
from verdict import Verdict, eventually

verdict = Verdict()

# An outage of some seconds is told in a few lines.
LOG_LINES_MAX = 60
RESULT_MEMBERS = {
    "v", "message", "occurrence", "app", "lane", "class", "recipient", "channel", "account", "provider_id", "state", "reason",
    "attempt", "time_ms", "accepted_ms", "bytes", "meta",
}


def kcat(nodes, lane, key, *records):
    """Produces records as an operator would, one a line."""
    text = "\n".join(record if isinstance(record, str) else json.dumps(record) for record in records)
    command = ["kcat", "-P", "-b", nodes.kafka, "-t", f"{nodes.prefix}.{lane}", "-k", key]
    print(f"$ {' '.join(command)} <<< {text}", flush=True)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise server.Failed(f"kcat: {done.stderr}")


class Listener:
    """`pushgate listen --json --config …` in the background."""

    def __init__(self, nodes, folder, *arguments):
        self.out = f"{folder}/listen-{time.monotonic_ns()}"
        words = ["listen", "--config", nodes.config, "--json", *arguments]
        with open(self.out, "wb") as out:
            self.child = subprocess.Popen([server.binary(), *words], stdout=out, stderr=subprocess.DEVNULL)

    def frames(self):
        lines = pathlib.Path(self.out).read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def pushes(self):
        return [frame for frame in self.frames() if frame["type"] == "push"]

    def hello(self, seconds=30):
        return eventually(lambda: any(frame["type"] == "hello" for frame in self.frames()), seconds)

    def push(self, ident, seconds=30):
        """The push with this id, or None."""
        return eventually(lambda: next((push for push in self.pushes() if push["id"] == ident), None), seconds)

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait(20)


def message(ident, user, **more):
    return {"v": 1, "id": ident, "to": {"users": [user]}, "content": {"title": "Hi", "body": f"body of {ident}"}, **more}


@contextlib.contextmanager
def listening(nodes, folder, *arguments):
    listener = Listener(nodes, folder, *arguments)
    try:
        yield listener
    finally:
        listener.stop()


# --- form -----------------------------------------------------------------------------------------------------------


def result_of(results, ident, state):
    return results.wait(lambda r: r.key() and r.key().split(b"/")[0] == ident.encode() and value(r)["state"] == state)


def is_exact(record, nodes, ident, user, **expected):
    """The record has the contract's members and no others, with these values."""
    if record is None:
        return verdict.fact(False, f"{ident}: a result {expected}", "none came")
    found = value(record)
    wanted = {"v": 1, "message": ident, "occurrence": None, "app": nodes.app, "channel": "websocket", "account": None,
              "provider_id": None, "reason": None, "attempt": 1, **expected}
    differs = {key: (found.get(key), want) for key, want in wanted.items() if found.get(key, "absent") != want}
    name = f"{ident}: the {found['state']} result"
    verdict.fact(set(found) == RESULT_MEMBERS, f"{name} has the contract's members", sorted(set(found) ^ RESULT_MEMBERS))
    verdict.fact(not differs, f"{name} has the contract's values", f"(found, wanted): {differs}")
    verdict.fact(record.key().startswith(f"{ident}/{user}".encode()), f"{name} has the key message/recipient", record.key())
    now_ms = time.time() * 1000
    sane = now_ms - 600_000 < found["accepted_ms"] <= found["time_ms"] + 1000 < now_ms + 60_000 and found["bytes"] > 0
    return verdict.fact(sane, f"{name} has times and size", found)


def delivered_and_stored(nodes, folder, results):
    with listening(nodes, folder, "--user", "alice", "--device", "phone") as alice:
        verdict.fact(alice.hello(), "listen --config connects", alice.frames())
        kcat(nodes, "high", "alice", message("m1", "alice", meta={"order": 17}, **{"class": "otp"}))
        push = alice.push("m1")
        verdict.fact(push and push["title"] == "Hi" and push["body"] == "body of m1", "kcat's record is pushed to listen", push)
        record = result_of(results, "m1", "delivered")
        is_exact(record, nodes, "m1", "alice", lane="high", state="delivered", recipient={"user": "alice", "device": "phone"},
                 meta={"order": 17}, **{"class": "otp"})
        verdict.fact(record and b"body of m1" not in record.value(), "a one-time code's content is in no result")
        for lane in ("normal", "low"):
            kcat(nodes, lane, "alice", message(f"m-{lane}", "alice"))
            verdict.fact(alice.push(f"m-{lane}"), f"lane {lane} is delivered", alice.frames())
            is_exact(result_of(results, f"m-{lane}", "delivered"), nodes, f"m-{lane}", "alice", lane=lane, state="delivered",
                     recipient={"user": "alice", "device": "phone"}, meta={}, **{"class": "transactional"})
        kcat(nodes, "high", "alice", message("m1", "alice"))
        kcat(nodes, "high", "alice", message("m2", "alice"))
        verdict.fact(alice.push("m2"), "the partition goes on after a repeated id", alice.frames())
        times = [push["id"] for push in alice.pushes()].count("m1")
        verdict.fact(times == 1, "a repeated id is not pushed again", times)
    kcat(nodes, "high", "bob", message("m3", "bob"))
    is_exact(result_of(results, "m3", "stored"), nodes, "m3", "bob", lane="high", state="stored", recipient={"user": "bob"}, meta={},
             **{"class": "transactional"})
    with listening(nodes, folder, "--user", "bob", "--device", "web") as bob:
        push = bob.push("m3")
        verdict.fact(push and push["replay"], "what was stored is replayed", push)
        is_exact(result_of(results, "m3", "delivered"), nodes, "m3", "bob", lane="high", state="delivered",
                 recipient={"user": "bob", "device": "web"}, meta={}, **{"class": "transactional"})
    with listening(nodes, folder, "--user", "bob", "--device", "web") as bob:
        # One that comes while a user connects may be both replayed and pushed.
        verdict.fact(bob.hello(), "who comes again is greeted", bob.frames())
        kcat(nodes, "high", "bob", message("m4", "bob"))
        verdict.fact(bob.push("m4") and [p["id"] for p in bob.pushes()] == ["m4"], "a delivered push is not replayed again", bob.pushes())


def poison(nodes, folder, dead):
    bad = {
        "not JSON": ("{nonsense", "JSON"),
        "a reserved field": (message("p1", "carol", category="x"), "category"),
        "a reserved recipient": ({"v": 1, "to": {"groups": ["g"]}, "content": {"title": "t"}}, "groups"),
        "an unknown field": (message("p2", "carol", colour="red"), "colour"),
        "a wrong type": ({"v": 1, "to": {"users": "carol"}, "content": {"title": "t"}}, "users"),
        "nobody to send to": ({"v": 1, "to": {}, "content": {"title": "t"}}, "to"),
        "an unknown version": ({"v": 0, "to": {"users": ["carol"]}, "content": {"title": "t"}}, "v"),
    }
    with listening(nodes, folder, "--user", "carol") as carol:
        carol.hello()
        # One key: every record lies in the same partition, behind the one before.
        for at, (what, (record, _)) in enumerate(bad.items()):
            kcat(nodes, "high", "carol", record, message(f"after-{at}", "carol"))
            verdict.fact(carol.push(f"after-{at}"), f"the partition goes on after {what}", carol.frames())
        for what, (record, word) in bad.items():
            original = (record if isinstance(record, str) else json.dumps(record)).encode()
            letter = dead.wait(lambda r: r.value() == original)
            if not verdict.fact(letter is not None, f"{what} goes to the dead topic with its original value", [r.value() for r in dead.records]):
                continue
            headers = {key: text.decode() for key, text in letter.headers() or []}
            form = set(headers) == {"reason", "attempts", "origin"} and headers["attempts"] == "1"
            origin = re.fullmatch(rf"{re.escape(nodes.prefix)}\.high/\d+/\d+", headers.get("origin", ""))
            verdict.fact(form and origin, f"the letter of {what} has reason, attempts, origin", headers)
            verdict.fact(word in headers.get("reason", ""), f"the reason of {what} names it", headers)
            verdict.fact(letter.key() == b"carol", f"the letter of {what} keeps its key", letter.key())
        secret = message("p3", "carol", colour="red", **{"class": "otp"})
        kcat(nodes, "high", "carol", secret, message("after-otp", "carol"))
        carol.push("after-otp")
        letter = dead.wait(lambda r: b"colour" in dict(r.headers() or [])["reason"] and b"p2" not in r.value())
        # A message with an empty value counts as false.
        kept = "none came" if letter is None else letter.value() or b""
        verdict.fact(letter is not None and b"body of p3" not in kept, "a one-time code's content is in no dead letter", kept)
    logs = nodes.log("dispatcher") + nodes.log("gateway")
    verdict.fact("body of p3" not in logs and "body of m1" not in logs, "a one-time code's content is in no log")


def by_rest(nodes, results):
    headers = server.basic(nodes.app, SECRET)
    status, answer = server.http_json(nodes.rest, "POST", "/v1/messages?lane=low", message("r1", "dave"), headers)
    verdict.fact(status == 202 and answer == {"id": "r1", "lane": "low"}, "REST is answered 202, id and lane", (status, answer))
    is_exact(result_of(results, "r1", "stored"), nodes, "r1", "dave", lane="low", state="stored", recipient={"user": "dave"}, meta={},
             **{"class": "transactional"})
    status, answer = eventually(lambda: a if (a := server.http_json(nodes.rest, "GET", "/v1/messages/r1", headers=headers))[0] == 200
                                and a[1]["summary"].get("stored") else None) or (None, None)
    verdict.fact(status == 200 and answer["summary"] == {"stored": 1}, "REST tells the message's state", (status, answer))


def form(folder):
    names = ("PUSHGATE_TEST_KAFKA", "PUSHGATE_TEST_REDIS")
    addresses = {name: os.environ[name] for name in names} if all(n in os.environ for n in names) else services.services("up")
    nodes = Nodes(folder, "form", addresses)
    readers = []
    try:
        nodes.start()
        results, dead = (Topic(nodes.kafka, f"{nodes.prefix}.{topic}") for topic in ("results", "dead"))
        readers = [results, dead]
        delivered_and_stored(nodes, folder, results)
        poison(nodes, folder, dead)
        by_rest(nodes, results)
        for name, process in nodes.processes.items():
            code = process.interrupt()
            verdict.fact(code == 0, f"Ctrl-C ends the {name} with 0", (code, nodes.log(name)[-500:]))
    finally:
        nodes.stop()
        for reader in readers:
            reader.close()
        services.delete_topics(nodes.kafka, nodes.prefix)


# --- outages --------------------------------------------------------------------------------------------------------


def failing(nodes, word):
    """What /readyz says of a dependency whose name holds `word`, or None."""
    status, body = nodes.readiness()
    found = [f for f in body["failing"] if word in f["what"]] if status == 503 else []
    return found[0] if found else None


def down(nodes, word, since, seconds=60):
    """The outage shows in /readyz with its beginning, and in the log."""
    told = eventually(lambda: failing(nodes, word), seconds)
    verdict.fact(told, f"/readyz names {word}", nodes.readiness())
    if told:
        begun = since * 1000 - 1000 <= told["since_ms"] <= time.time() * 1000 and told["since"].startswith("20")
        verdict.fact(begun and told["detail"], f"/readyz says since when and why {word} fails", (told, since))
    logged = re.search(rf"WARN.*{word}", nodes.log("dispatcher"))
    verdict.fact(logged, f"the log warns of {word}", nodes.log("dispatcher")[-1500:])
    alive = all(process.child.poll() is None for process in nodes.processes.values())
    verdict.fact(alive, f"both processes live on without {word}")


def up(nodes, word, ident, alice, seconds=90):
    """It is ready again and delivers."""
    ready = eventually(lambda: nodes.readiness()[0] == 200, seconds)
    verdict.fact(ready, f"ready again after {word} is back", nodes.readiness())
    kcat(nodes, "high", "alice", message(ident, "alice"))
    verdict.fact(alice.push(ident, 60), f"it delivers after {word} is back", alice.frames()[-3:])


def missing_at_the_start(nodes, folder, word):
    services.services("kill", word)
    began = time.time()
    for process in nodes.processes.values():
        process.start()
    if eventually(lambda: nodes.readiness()[0], 30):
        down(nodes, word, began)
    else:
        verdict.fact(False, f"/readyz answers without {word}", nodes.readiness())
    services.services("restart", word)
    with listening(nodes, folder, "--user", "alice") as alice:
        alice.hello(60)
        up(nodes, word, f"after-start-without-{word}", alice)
    for name, process in nodes.processes.items():
        code = process.interrupt(60)
        verdict.fact(code == 0, f"Ctrl-C ends the {name} with 0", (code, nodes.log(name)[-500:]))


def lost_later(nodes, folder, word):
    with listening(nodes, folder, "--user", "alice") as alice:
        alice.hello(60)
        before, lines = time.time(), nodes.log("dispatcher").count("\n")
        services.services("kill", word)
        # Without work: an idle dispatcher notices as well.
        down(nodes, word, before)
        if word == "redis":
            kcat(nodes, "high", "alice", message("while-redis-is-away", "alice"))
        services.services("restart", word)
        up(nodes, word, f"after-{word}-was-lost", alice)
        if word == "redis":
            verdict.fact(alice.push("while-redis-is-away", 60), "what came while redis was away arrives", alice.frames()[-3:])
        lines = nodes.log("dispatcher").count("\n") - lines
        verdict.fact(lines <= LOG_LINES_MAX, f"the log does not repeat itself while {word} is away", f"{lines} lines")
        verdict.fact([f["type"] for f in alice.frames()].count("hello") == 1, f"the session stood while {word} was away")


def stops_while_away(nodes, word):
    services.services("kill", word)
    down(nodes, word, time.time() - 1)
    for name, process in nodes.processes.items():
        try:
            code = process.interrupt(40)
        except subprocess.TimeoutExpired:
            code = "did not end in 40 s"
        verdict.fact(code == 0, f"Ctrl-C ends the {name} with 0 while {word} is away", (code, nodes.log(name)[-1500:]))


def outages(folder):
    with services.private():
        nodes = Nodes(folder, "outages", services.services("up"))
        try:
            for word in ("redis", "kafka"):
                missing_at_the_start(nodes, folder, word)
            nodes.start()
            for word in ("redis", "kafka"):
                lost_later(nodes, folder, word)
            stops_while_away(nodes, "redis")
            services.services("restart", "redis")
        finally:
            nodes.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=("form", "outages", []), default=[])
    parts = parser.parse_args().parts or ["form", "outages"]
    with tempfile.TemporaryDirectory(prefix="pushgate-cluster-") as folder:
        try:
            for part in parts:
                {"form": form, "outages": outages}[part](folder)
        finally:
            server.keep_logs(folder, "cluster")


if __name__ == "__main__":
    verdict.run(main)
