#!/usr/bin/env python3
"""Kills one of two dispatchers with -9 while both fire a schedule, and counts what came in Kafka itself.

  schedule.py [--tasks 10000] [--seconds 60] [--seed N] [--untimed]

Tasks are due every second, each at its own moment of it, and catch up with what was missed. The topic's records are compared with the times
that the schedules name: each occurrence once; twice at most what was claimed at the kill; each in Kafka within a second of its
time while both lived, which `--untimed` only tells. On services of its own, in PUSHGATE_SERVICES_DIR or a temporary directory.
Exit 0: nothing is missing, nothing too much. The servers' logs are kept in target/e2e-logs.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time

import server
import services
from nodes import SECRET, Nodes
from occurrences import Fired, judge

LANE = "normal"
SHARDS = 16
LEASE_MS = 5_000
BATCH = 500
# Nothing is kept of what is fired, so that both dispatchers work for the schedule alone.
CLASS = '\n[[classes]]\nname = "state"\nresults = false\n'


class Pair(Nodes):
    """Two dispatchers, d1 and d2, and a gateway without clients."""

    def __init__(self, folder, addresses):
        super().__init__(folder, "schedule", addresses, topic_config={"message.timestamp.type": "LogAppendTime"})
        self.redis_port = addresses["PUSHGATE_TEST_REDIS"].rsplit(":", 1)[1]
        with open(self.config, encoding="utf-8") as file:
            first = file.read() + CLASS
        self.second_rest = f"127.0.0.1:{server.free_port()}"
        second = first.replace('node = "d1"', 'node = "d2"').replace(f'listen = "{self.rest}"', f'listen = "{self.second_rest}"')
        path = f"{folder}/schedule-second.toml"
        for name, text in ((self.config, first), (path, second)):
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
        self.logs["second"] = f"{folder}/schedule-second.log"
        self.processes["second"] = server.Process("second", ["dispatcher", "--config", path], {}, self.logs["second"])

    def start(self):
        super().start()
        server.wait_ready(self.second_rest)

    def claimed(self):
        """{task: end of its lease} of what is claimed now, as it stands in Redis."""
        keys = [f"pushgate:t:{{t{shard}}}:due" for shard in range(SHARDS)]
        asked = "".join(f'ZRANGE "{key}" 0 -1 WITHSCORES\n' for key in keys)
        out = subprocess.run(["redis-cli", "-p", self.redis_port], input=asked.encode(), capture_output=True, check=True, timeout=60)
        lines = [line for line in out.stdout.split(b"\n") if line]
        scores = dict(zip(lines[::2], lines[1::2]))
        # A lease is told from a time by its fraction.
        return {name.split(b"\0")[1].decode(): float(score) for name, score in scores.items() if float(score) % 1}


def accept(pair, starts, seconds):
    """Has every task accepted by REST, by one dispatcher and the other in turn."""
    headers, names = server.basic(pair.app, SECRET), list(starts)
    for n, at in enumerate(range(0, len(names), BATCH)):
        messages = [
            {"id": name, "to": {"users": [f"user-{name}"]}, "content": {"title": "t"}, "class": "state", "ack": False,
             "schedule": {"every": "1s", "times": seconds, "start": stamp(starts[name]), "misfire": "catch_up"}}
            for name in names[at : at + BATCH]
        ]
        rest = (pair.rest, pair.second_rest)[n % 2]
        status, answer = server.http_json(rest, "POST", f"/v1/messages/batch?lane={LANE}", {"messages": messages}, headers, 60)
        refused = [item for item in answer["items"] if item["status"] != "accepted"] if status == 202 else [answer]
        if refused:
            raise server.Failed(f"a batch is not accepted: {status} {refused[0]}")
    if time.time() * 1000 > min(starts.values()):
        raise server.Failed("the first tasks were due before all were accepted")


def stamp(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03}Z"


def until(ms):
    time.sleep(max(0, ms / 1000 - time.time()))


def fired(pair, expected, seconds):
    """Every record of the lane, once there are as many as expected and no more come for two seconds, or `seconds` are over."""
    topic = services.Topic(pair.kafka, f"{pair.prefix}.{LANE}")
    try:
        end, count, since = time.monotonic() + seconds, -1, time.monotonic()
        while time.monotonic() < end and not (count >= expected and time.monotonic() - since > 2):
            now = topic.count()
            if now != count:
                count, since = now, time.monotonic()
            time.sleep(0.25)
        return [Fired.of(record) for record in topic.read(count)]
    finally:
        topic.close()


def chaos(options, folder):
    rng = random.Random(options.seed)
    pair = Pair(folder, services.services("up"))
    try:
        pair.start()
        lead_ms = 10_000 + 2 * options.tasks
        first = int(time.time() * 1000) + lead_ms
        starts = {f"tick-{n:06}": first + rng.randrange(1_000) for n in range(options.tasks)}
        accept(pair, starts, options.seconds)
        until(first + 1_000 * rng.uniform(0.2, 0.6) * options.seconds)
        kill_ms = int(time.time() * 1000)
        pair.processes["dispatcher"].kill()
        # What the other one claimed since has a longer lease.
        dead_ms = time.time() * 1000
        claimed = {task for task, lease_ms in pair.claimed().items() if lease_ms <= dead_ms + LEASE_MS + 100}
        print(f"killed d1 {kill_ms - first} ms after the first was due, {len(claimed)} tasks claimed", flush=True)
        until(first + 1_000 * (options.seconds + 1))
        wanted = {f"{name}@{start + n * 1_000}" for name, start in starts.items() for n in range(options.seconds)}
        records = fired(pair, len(wanted), 60 + LEASE_MS / 1000)
        complaints = judge(wanted, records, claimed, kill_ms, not options.untimed)
        for name in ("second", "gateway"):
            code = pair.processes[name].interrupt()
            complaints += [f"Ctrl-C ended the {name} with {code}"] if code else []
        return complaints
    finally:
        pair.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--untimed", action="store_true")
    options = parser.parse_args()
    server.end_on_sigterm()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="pushgate-schedule-") as folder:
        try:
            with services.private():
                complaints = chaos(options, folder)
        except server.Failed as error:
            complaints = [str(error)]
        finally:
            server.keep_logs(folder, "chaos-schedule")
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    print(f"{'failed' if complaints else 'passed'}, seed {options.seed}")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
