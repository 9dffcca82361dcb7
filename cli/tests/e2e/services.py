"""Real Kafka and Redis: `scripts/services`, and what is read from Kafka's topics."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time

import server


def services(*words):
    """Runs `scripts/services`; the addresses that it prints. PUSHGATE_SERVICES_DIR says which set is meant."""
    out = subprocess.run([str(server.ROOT / "scripts/services"), *words], capture_output=True, text=True)
    if out.returncode:
        raise server.Failed(f"scripts/services {' '.join(words)}: {out.stdout}{out.stderr}")
    return dict(line.split("=", 1) for line in out.stdout.splitlines() if line.startswith("PUSHGATE_TEST_"))


@contextlib.contextmanager
def private():
    """Services that may be killed: the set in PUSHGATE_SERVICES_DIR, which is left as it is, else a set of one's own."""
    if "PUSHGATE_SERVICES_DIR" in os.environ:
        yield
        return
    parent = server.ROOT / "target/tmp"
    parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="services-", dir=parent)
    os.environ["PUSHGATE_SERVICES_DIR"] = folder
    try:
        yield
    finally:
        services("down")
        del os.environ["PUSHGATE_SERVICES_DIR"]
        shutil.rmtree(folder)


def create_topics(kafka, prefix, partitions=6, config=None, client=None):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(client or {"bootstrap.servers": kafka})
    names = [f"{prefix}.{t}" for t in ("high", "normal", "low", "results", "dead")]
    topics = [NewTopic(name, partitions, 1, config=config or {}) for name in names]
    for future in admin.create_topics(topics).values():
        future.result(60)


def delete_topics(kafka, prefix):
    """Best effort: the broker of a failed test may be down."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": kafka})
    names = [f"{prefix}.{t}" for t in ("high", "normal", "low", "results", "dead")]
    for future in admin.delete_topics(names, operation_timeout=10).values():
        try:
            future.result(15)
        except KafkaException:
            return


class Topic:
    """All records of a topic, from its beginning, without a consumer group. `client` is what a client needs besides."""

    def __init__(self, kafka, name, client=None):
        from confluent_kafka import Consumer, TopicPartition

        self.name, self.records = name, []
        self.consumer = Consumer({
            "bootstrap.servers": kafka, "group.id": f"reader-{os.getpid()}", "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "log_level": 2, **(client or {}),
        })
        partitions = self.consumer.list_topics(name, timeout=30).topics[name].partitions
        self.consumer.assign([TopicPartition(name, p, 0) for p in partitions])

    def wait(self, wanted, seconds=60):
        """Reads until `wanted(record)` holds for some record; that record, or None after `seconds`."""
        for record in self.records:
            if wanted(record):
                return record
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            record = self.consumer.poll(0.2)
            if record is None or record.error():
                continue
            self.records.append(record)
            if wanted(record):
                return record
        return None

    def read(self, count):
        """Reads on until `count` records were read, or nothing comes for ten seconds; all that were read."""
        while len(self.records) < count:
            some = self.consumer.consume(10_000, 10)
            if not some:
                break
            self.records += [record for record in some if not record.error()]
        return self.records

    def count(self):
        """Records in the topic now."""
        from confluent_kafka import TopicPartition

        partitions = self.consumer.list_topics(self.name, timeout=30).topics[self.name].partitions
        marks = [self.consumer.get_watermark_offsets(TopicPartition(self.name, p), timeout=30) for p in partitions]
        return sum(high - low for low, high in marks)

    def close(self):
        self.consumer.close()


def value(record):
    return json.loads(record.value())
