#!/usr/bin/env python3
"""A second dispatcher comes and goes while the first sends mail: partitions move there and back, and with them the mails that wait.

  mail_moved.py [--mails 3000] [--connections 8] [--per-s 400] [--seed N]

Messages come from Kafka, marks and states stand in Redis; the account sends slower than the lane reads, so that mails wait for it in the dispatcher that read
them. Judged:

- each recipient's mail came, each recipient's end is in the results topic, and is `sent`;
- no more mails came twice than were under way when partitions moved: at most one for each connection and move. What waits goes with its partition.

It uses services of its own, or those in PUSHGATE_SERVICES_DIR.
"""

import argparse
import pathlib
import random
import re
import tempfile
import urllib.request

import server
import services
from mail_killed import PATIENCE_S, judge_lost, produce
from mail_server import MailServer
from nodes import Nodes
from verdict import Verdict, eventually

verdict = Verdict()
SENT = re.compile(r'^pushgate_\w*channel_attempts_total\{[^}]*answer="sent"[^}]*\} [1-9]', re.MULTILINE)
CONFIG = """
[[email]]
name = "relay"
kind = "smtp"
url = "smtp://{sink}?tls=never"
from = "shop@mail.example.org"
rate = {{ per_s = {per_s}, burst = 1 }}
[channels.email]
concurrency = {connections}
deadline_ms = 60000
"""


def second(nodes, folder):
    """Another dispatcher of the same group, and where it answers."""
    text, config, rest = pathlib.Path(nodes.config).read_text(), f"{folder}/second.toml", f"127.0.0.1:{server.free_port()}"
    for old, new in (('"d1"', '"d2"'), (f'"{nodes.rest}"', f'"{rest}"'), (f'"{nodes.data}"', f'"{folder}/second-data"')):
        if old not in text:
            raise server.Failed(f"the configuration has no {old}")
        text = text.replace(old, new)
    pathlib.Path(config).write_text(text)
    return server.Process("second", ["dispatcher", "--config", config], {}, f"{folder}/second.log"), rest


def metrics(rest):
    with urllib.request.urlopen(f"http://{rest}/metrics", timeout=30) as answer:
        return answer.read().decode()


def came(sink, share, options):
    if not eventually(lambda: sink.count() >= share * options.mails, PATIENCE_S):
        raise server.Failed(f"{sink.count()} mails came in {PATIENCE_S} s, {share * options.mails:.0f} were waited for")


def moves(nodes, sink, options, folder):
    """Starts the second dispatcher and ends it again; how many mails may have been under way."""
    other, rest = second(nodes, folder)
    try:
        came(sink, 0.1, options)
        other.start()
        server.wait_ready(rest)
        log = pathlib.Path(folder, "second.log")
        sends = lambda: SENT.search(metrics(rest))
        verdict.fact(eventually(sends, PATIENCE_S), "the second dispatcher sends mail, too", log.read_text(errors="replace")[-2000:])
        came(sink, 0.6, options)
        other.interrupt()
    finally:
        other.stop()
    return 2 * 2 * options.connections


def test(options):
    sink = MailServer(0.02, options.seed)
    with tempfile.TemporaryDirectory(prefix="pushgate-moved-") as folder, services.private():
        more = CONFIG.format(sink=sink.address, connections=options.connections, per_s=options.per_s)
        nodes = Nodes(folder, "moved", services.services("up"), more=more)
        try:
            nodes.start()
            pairs = produce(nodes, options.mails, at_once=30)
            under_way = moves(nodes, sink, options, folder)
            judge_lost(nodes, sink, pairs, verdict)
            again = sum(len(mails) - 1 for mails in sink.by_recipient().values())
            print(f"{again} mails came twice", flush=True)
            verdict.fact(again <= under_way, "no more came twice than were under way", (again, under_way))
        finally:
            nodes.stop()
            sink.close()
            server.keep_logs(folder, "mail-moved")
            services.delete_topics(nodes.kafka, nodes.prefix)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=3000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--per-s", type=int, default=400)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    verdict.run(lambda: test(options))


if __name__ == "__main__":
    main()
