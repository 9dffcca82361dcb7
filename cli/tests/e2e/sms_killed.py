#!/usr/bin/env python3
"""Kills the dispatcher with -9 while its calls to an HTTP provider of text messages are under way, and counts at the provider who got what.

  sms_killed.py [--texts 300] [--kills 2] [--calls 16] [--pause-ms 400] [--elsewhere] [--seed N]

Messages to one and to several numbers come from Kafka, marks and states stand in Redis. The provider takes a text message when it has read the call, and answers after up to
`--pause-ms`; each tenth number is told to come again (503) the first time. Judged:

- no number got two text messages;
- each number has one end in the results topic, `sent` or `unknown`, and those that are `sent` got the message;
- no more are `unknown` than calls can be under way at so many kills (`--calls` each), and some are: the kills hit calls.

`--elsewhere`: with each kill the dispatcher's disk is gone, as it is for another machine that takes over. Then what was under way comes twice, and how much did is told, not judged.
It uses services of its own, or those in PUSHGATE_SERVICES_DIR.
"""

import argparse
import collections
import http.server
import json
import pathlib
import random
import shutil
import tempfile
import threading
import time

import server
import services
from nodes import Nodes
from verdict import Verdict, eventually

verdict = Verdict()
PATIENCE_S = 120
ENDS = {"sent", "delivered", "failed", "expired", "skipped", "unknown", "recalled"}
# Recipients of the messages, in turns.
SIZES = (1, 1, 1, 5)
CONFIG = """
[[sms]]
name = "carrier"
kind = "generic"
url = "http://shop@{api}/send"
password = "hunter2"
[sms.http]
headers = {{ content-type = "application/json" }}
body = '{{"to":"{{to}}","text":"{{text}}"}}'
[channels.sms]
concurrency = {calls}
backoff_base_ms = 100
"""


class Provider:
    """Takes text messages, and knows which calls it has not answered."""

    def __init__(self, pause_s, seed):
        self.rng, self.pause_s, self.lock = random.Random(seed), pause_s, threading.Lock()
        self.taken, self.refused, self.under_way = collections.Counter(), set(), 0
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status, pause_s = provider.came(json.loads(body)["to"])
                time.sleep(pause_s)
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")
                except OSError:
                    # Who asked was killed.
                    self.close_connection = True
                provider.answered()

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A connection that a killed dispatcher leaves behind is nobody's fault.
        self.http.handle_error = lambda *_: None
        self.address = f"127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def came(self, number):
        """What is answered to a call, and after which time."""
        with self.lock:
            self.under_way += 1
            pause_s = self.rng.uniform(0, self.pause_s)
            if int(number[-3:]) % 10 == 0 and number not in self.refused:
                self.refused.add(number)
                return 503, pause_s
            self.taken[number] += 1
            return 201, pause_s

    def answered(self):
        with self.lock:
            self.under_way -= 1

    def count(self):
        with self.lock:
            return sum(self.taken.values())

    def close(self):
        self.http.shutdown()


def messages(texts):
    """(id, numbers) of messages to so many numbers in all."""
    made = 0
    while made < texts:
        size = min(SIZES[made % len(SIZES)], texts - made)
        yield f"m-{made:06}", [f"+86138{10_000_000 + n}" for n in range(made, made + size)]
        made += size


def produce(nodes, texts):
    """Puts all messages into Kafka; all numbers."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": nodes.kafka, "enable.idempotence": True, "log_level": 2})
    numbers = set()
    for ident, to in messages(texts):
        message = {"v": 1, "id": ident, "app": nodes.app, "to": {"phones": to}, "channels": ["sms"], "content": {"body": "b"}}
        producer.produce(f"{nodes.prefix}.normal", json.dumps(message), key=ident)
        numbers |= set(to)
    left = producer.flush(120)
    if left:
        raise server.Failed(f"{left} messages could not be produced")
    return numbers


def kills(nodes, provider, options, rng):
    """Kills the dispatcher while calls are under way, and starts it again; how many calls were."""
    dispatcher, under_way = nodes.processes["dispatcher"], 0
    for number, point in enumerate(sorted(rng.uniform(0.1, 0.8) for _ in range(options.kills))):
        # So late that text messages flow again after the kill before.
        wanted = max(point * options.texts, provider.count() + options.texts // 20)
        if not eventually(lambda: provider.count() >= wanted and provider.under_way, PATIENCE_S):
            raise server.Failed(f"{provider.count()} text messages came in {PATIENCE_S} s, {wanted:.0f} were waited for")
        dispatcher.kill()
        here = provider.under_way
        under_way += here
        print(f"killed at {provider.count()} text messages, {here} calls under way", flush=True)
        # What the killed one asked is answered to nobody.
        eventually(lambda: not provider.under_way, 10)
        if options.elsewhere:
            shutil.rmtree(nodes.data, ignore_errors=True)
        dispatcher.start()
        verdict.fact(here > 0, f"kill {number + 1} of {options.kills} hits calls")
    return under_way


def judge(nodes, provider, numbers, under_way, options):
    ended = collections.defaultdict(list)
    results = services.Topic(nodes.kafka, f"{nodes.prefix}.results")

    def told(record):
        found = services.value(record)
        if found["state"] in ENDS:
            ended[found["recipient"]["user"]].append((found["state"], found.get("reason")))
        return len(ended) >= len(numbers)

    results.wait(told, PATIENCE_S)
    results.close()
    states = {number: {state for state, _ in ends} for number, ends in ended.items()}
    counts = collections.Counter("+".join(sorted(of)) for of in states.values())
    twice = {number: count for number, count in provider.taken.items() if count > 1}
    unknown = [number for number, of in states.items() if of == {"unknown"}]
    reasons = collections.Counter(reason for number in unknown for _, reason in ended[number])
    print(f"{len(numbers)} numbers: {provider.count()} text messages taken, {len(twice)} numbers got two; ends {dict(counts)}; {under_way} calls were under way at "
          f"{options.kills} kills; of the unknown {sum(provider.taken[number] for number in unknown)} were taken", flush=True)
    print(f"reasons of the unknown: {dict(reasons)}", flush=True)
    verdict.fact(not numbers - ended.keys(), "each number has an end", sorted(numbers - ended.keys())[:5])
    if options.elsewhere:
        return
    verdict.fact(not twice, "no number got two", list(twice.items())[:5])
    verdict.fact(set(counts) <= {"sent", "unknown"}, "each ends as sent or as unknown, and as nothing else", counts)
    unsent = [number for number, of in states.items() if of == {"sent"} and not provider.taken[number]]
    verdict.fact(not unsent, "what is sent was taken", unsent[:5])
    most = options.calls * options.kills
    verdict.fact(0 < len(unknown) <= most, "some are unknown, and no more than calls can have been under way", (len(unknown), most))


def test(options):
    rng = random.Random(options.seed)
    provider = Provider(options.pause_ms / 1000, options.seed)
    with tempfile.TemporaryDirectory(prefix="pushgate-sms-") as folder, services.private():
        nodes = Nodes(folder, "sms", services.services("up"), more=CONFIG.format(api=provider.address, calls=options.calls))
        try:
            nodes.start()
            numbers = produce(nodes, options.texts)
            under_way = kills(nodes, provider, options, rng)
            judge(nodes, provider, numbers, under_way, options)
            nodes.processes["dispatcher"].interrupt()
            left = [path.name for path in pathlib.Path(nodes.data, "taken").glob("*")]
            verdict.fact(not left, "a dispatcher that ends by itself leaves no journal", left)
        finally:
            nodes.stop()
            provider.close()
            server.keep_logs(folder, "sms-killed")
            services.delete_topics(nodes.kafka, nodes.prefix)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--calls", type=int, default=16)
    parser.add_argument("--pause-ms", type=float, default=400)
    parser.add_argument("--elsewhere", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    verdict.run(lambda: test(options))


if __name__ == "__main__":
    main()
