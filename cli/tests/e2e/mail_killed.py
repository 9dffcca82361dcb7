#!/usr/bin/env python3
"""Kills the dispatcher with -9 while it sends mail, and counts what came by recipient and by Message-ID, at the mail server.

  mail_killed.py [--mails 3000] [--kills 3] [--connections 16] [--pause-ms 20] [--elsewhere] [--seed N]

Messages to one and to several recipients come from Kafka, marks and states stand in Redis, the mail server answers each final dot after up to `--pause-ms`. Judged:

- each recipient's mail came, and each recipient's end is in the results topic: nothing is lost, neither a mail nor what is told of it;
- no more mails came twice than there were final dots whose answer the killed dispatcher had not read: the server had not answered, or the system says that the
  answer was not read (mail_server.py tells how). The moment between reading an answer and noting it is a few microseconds, and for that one mail in each kill is
  allowed on top of it;
- no mail came twice after whose answer the dispatcher sent something more on the connection: that would be one which it had read beyond doubt. So
  there are never more than a kill finds connections;
- what came twice has the same Message-ID.

`--elsewhere`: with each kill the dispatcher's disk is gone, as it is for another machine that takes over. Then only the marks in Redis keep mails from
coming twice, and how many did is told, not judged.
It uses services of its own, or those in PUSHGATE_SERVICES_DIR.
"""

import argparse
import collections
import json
import pathlib
import random
import shutil
import tempfile
import time

import server
import services
from mail_server import MailServer
from nodes import Nodes
from verdict import Verdict, eventually

verdict = Verdict()
PATIENCE_S = 120
ENDS = {"sent", "delivered", "failed", "expired", "skipped", "unknown", "recalled"}
# Recipients of the messages, in turns.
SIZES = (1, 1, 1, 9)
CONFIG = """
[[email]]
name = "relay"
kind = "smtp"
url = "smtp://{sink}?tls=never"
from = "shop@mail.example.org"
[channels.email]
concurrency = {connections}
deadline_ms = 60000
"""


def messages(mails):
    """(id, recipients) of messages to so many recipients in all."""
    made = 0
    while made < mails:
        size = min(SIZES[made % len(SIZES)], mails - made)
        yield f"m-{made:06}", [f"r{n:06}@example.net" for n in range(made, made + size)]
        made += size


def produce(nodes, mails, at_once=None):
    """Puts all messages into Kafka, so many at once that its partitions are read in turns; the pairs of message and recipient."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": nodes.kafka, "enable.idempotence": True, "log_level": 2})
    pairs = set()
    for number, (ident, recipients) in enumerate(messages(mails)):
        if at_once and number % at_once == 0:
            producer.flush(120)
        message = {"v": 1, "id": ident, "app": nodes.app, "to": {"emails": recipients}, "channels": ["email"], "content": {"title": "t", "body": "b"}}
        producer.produce(f"{nodes.prefix}.normal", json.dumps(message), key=ident)
        pairs |= {(ident, recipient) for recipient in recipients}
    left = producer.flush(120)
    if left:
        raise server.Failed(f"{left} messages could not be produced")
    return pairs


def kills(nodes, sink, options, rng):
    """Kills the dispatcher while mails come, and starts it again; how many connections it had in all."""
    dispatcher = nodes.processes["dispatcher"]
    points = sorted(rng.uniform(0.05, 0.9) for _ in range(options.kills))
    connections = 0
    for number, point in enumerate(points):
        came = sink.count()
        # So late that mails flow again after the kill before.
        wanted = max(point * options.mails, came + min(50, options.mails // 20))
        if not eventually(lambda: sink.count() >= wanted, PATIENCE_S):
            raise server.Failed(f"{sink.count()} mails came in {PATIENCE_S} s, {wanted:.0f} were waited for")
        time.sleep(rng.uniform(0, 0.02))
        here = len(sink.open)
        connections += here
        dispatcher.kill()
        print(f"killed at {sink.count()} mails, {here} connections", flush=True)
        eventually(lambda: not sink.open, 10)
        if options.elsewhere:
            shutil.rmtree(nodes.data, ignore_errors=True)
        time.sleep(rng.uniform(0, 0.5))
        dispatcher.start()
        verdict.fact(True, f"kill {number + 1} of {options.kills}")
    return connections


def judge_lost(nodes, sink, pairs, verdict):
    """Every mail came, and every end is told."""
    wanted = {recipient for _, recipient in pairs}
    missing = lambda: wanted - sink.by_recipient().keys()
    eventually(lambda: sink.count() >= len(wanted) and not missing(), PATIENCE_S)
    ended = collections.defaultdict(set)
    results = services.Topic(nodes.kafka, f"{nodes.prefix}.results")

    def told(record):
        found = services.value(record)
        if found["state"] in ENDS:
            ended[(found["message"], found["recipient"]["user"])].add(found["state"])
        return len(ended) >= len(pairs)

    results.wait(told, PATIENCE_S)
    results.close()
    gone, untold = missing(), pairs - ended.keys()
    other = {pair: states for pair, states in ended.items() if states != {"sent"}}
    verdict.fact(not gone, f"each of {len(wanted)} recipients got the mail", sorted(gone)[:5])
    verdict.fact(not untold, "each recipient's end is in the results", (len(untold), sorted(untold)[:5]))
    verdict.fact(not other, "each ended as sent and as nothing else", list(other.items())[:5])


def judge_doubled(sink, connections, options):
    """What came twice is what the dispatcher could not know of."""
    by_recipient = sink.by_recipient()
    fates = collections.Counter(mail.fate for mail in list(sink.mails))
    # The last one is the one that counts; the others are what it came again for.
    again = [mail for mails in by_recipient.values() for mail in mails[:-1]]
    of = collections.Counter(mail.fate for mail in again)
    unanswered = fates["none"] + fates["unread"]
    print(f"{len(sink.mails)} mails to {len(by_recipient)} recipients: {len(again)} doubled; {unanswered} final dots were unanswered ({fates['none']} not answered by the "
          f"server, {fates['unread']} with an answer that nobody read); {connections} connections at {options.kills} kills", flush=True)
    print(f"of the doubled: {of['none']} not answered, {of['unread']} unread, {of['read']} read and not noted, {of['confirmed']} confirmed", flush=True)
    idents = [len({mail.ident for mail in mails}) for mails in by_recipient.values()]
    verdict.fact(set(idents) == {1} and all(mail.ident for mail in again), "what came twice has the same Message-ID", collections.Counter(idents))
    if options.elsewhere:
        return
    verdict.fact(of["confirmed"] == 0, "nothing came twice whose answer had been read beyond doubt", of)
    verdict.fact(len(again) <= unanswered + options.kills, "no more came twice than there were final dots unanswered", (len(again), unanswered))
    verdict.fact(len(again) <= connections, "no more came twice than there were connections", (len(again), connections))


def test(options):
    rng = random.Random(options.seed)
    sink = MailServer(options.pause_ms / 1000, options.seed)
    with tempfile.TemporaryDirectory(prefix="pushgate-mail-") as folder, services.private():
        more = CONFIG.format(sink=sink.address, connections=options.connections)
        nodes = Nodes(folder, "mail", services.services("up"), more=more)
        try:
            nodes.start()
            pairs = produce(nodes, options.mails)
            connections = kills(nodes, sink, options, rng)
            judge_lost(nodes, sink, pairs, verdict)
            judge_doubled(sink, connections, options)
            nodes.processes["dispatcher"].interrupt()
            left = [path.name for path in pathlib.Path(nodes.data, "taken").glob("*")]
            verdict.fact(not left, "a dispatcher that ends by itself leaves no journal", left)
        finally:
            nodes.stop()
            sink.close()
            server.keep_logs(folder, "mail-killed")
            services.delete_topics(nodes.kafka, nodes.prefix)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--pause-ms", type=float, default=20)
    parser.add_argument("--elsewhere", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    verdict.run(lambda: test(options))


if __name__ == "__main__":
    main()
