#!/usr/bin/env python3
"""Kafka with TLS, logins and rights: a broker of `scripts/services up kafka-tls`, and users with exactly the rights that
docs/src/operations/kafka.md gives them. What is wrong is told with what helps, and passes once it is put right.

  kafka_tls.py
"""

import contextlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import tempfile

import server
import services
from authority import Authority
from cluster import Listener, message
from nodes import SECRET, Nodes
from services import Topic, value
from verdict import Verdict, eventually

verdict = Verdict()
BOOK = server.ROOT / "docs/src/operations/kafka.md"


class Broker:
    """The broker: where it is, its files, and clients for those who have a login there."""

    def __init__(self, addresses):
        self.address, self.mutual = addresses["PUSHGATE_TEST_KAFKA_TLS"], addresses["PUSHGATE_TEST_KAFKA_MTLS"]
        self.files = pathlib.Path(addresses["PUSHGATE_TEST_KAFKA_TLS_FILES"])
        # The controller's: it speaks Kafka, and no TLS.
        self.plain = "127.0.0.1:" + (self.files / "ports").read_text().split()[1]

    def path(self, name):
        return str(self.files / name)

    def password(self, user):
        return (self.files / f"{user}.password").read_text().strip()

    def login(self, user):
        """What confluent_kafka needs to be that user."""
        return {
            "bootstrap.servers": self.address, "security.protocol": "sasl_ssl", "ssl.ca.location": self.path("ca.pem"),
            "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": user, "sasl.password": self.password(user),
        }

    def admin(self):
        from confluent_kafka.admin import AdminClient

        return AdminClient(self.login("admin"))

    def environment(self, **changed):
        """The keys of `[kafka]` as the environment has them; `None` leaves one out."""
        keys = {
            "BROKERS": self.address, "TLS": "true", "CA_FILE": self.path("ca.pem"), "SASL": "scram-sha-512", "USER": "pushgate",
            "PASSWORD_FILE": self.path("pushgate.password"), **changed,
        }
        return {f"PUSHGATE__KAFKA__{key}": text for key, text in keys.items() if text is not None}


class Rights:
    """The commands of the book that give rights, carried out by an administrator of the broker."""

    def __init__(self, broker, prefix):
        self.broker, self.prefix = broker, prefix
        text = BOOK.read_text().replace("\\\n", " ")
        self.commands = re.findall(r"^kafka-acls\.sh .*$", text, re.MULTILINE)

    def bindings(self, command, principal):
        from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

        words = shlex.split(command.replace("pushgate.", f"{self.prefix}."))
        named = lambda option: [words[at + 1] for at, word in enumerate(words) if word == option]
        pattern = ResourcePatternType.PREFIXED if named("--resource-pattern-type") == ["prefixed"] else ResourcePatternType.LITERAL
        return [
            AclBinding(kind, name, pattern, principal, "*", AclOperation[operation.upper()], AclPermissionType.ALLOW)
            for option, kind in (("--topic", ResourceType.TOPIC), ("--group", ResourceType.GROUP))
            for name in named(option)
            for operation in named("--operation")
        ]

    def give(self, user, principal=None):
        """All that the book gives to `user`."""
        mine = [command for command in self.commands if f"--allow-principal User:{user} " in command]
        bindings = [b for command in mine for b in self.bindings(command, principal or f"User:{user}")]
        if not bindings:
            raise server.Failed(f"{BOOK} gives {user} no rights: {self.commands}")
        self.add(bindings)
        return bindings

    def add(self, bindings):
        admin = self.broker.admin()
        for future in admin.create_acls(bindings).values():
            future.result(30)

    def take(self, bindings):
        from confluent_kafka.admin import AclBindingFilter

        filters = [AclBindingFilter(b.restype, b.name, b.resource_pattern_type, b.principal, b.host, b.operation, b.permission_type)
                   for b in bindings]
        admin = self.broker.admin()
        for future in admin.delete_acls(filters).values():
            future.result(30)

    @contextlib.contextmanager
    def without(self, bindings, operation, name):
        from confluent_kafka.admin import AclOperation

        gone = [b for b in bindings if b.operation == AclOperation[operation] and b.name == name]
        if not gone:
            raise server.Failed(f"nobody was given {operation} of {name}")
        self.take(gone)
        yield
        self.add(gone)


class Scene:
    def __init__(self, folder, broker, redis):
        self.folder, self.broker = folder, broker
        addresses = {"PUSHGATE_TEST_KAFKA": broker.address, "PUSHGATE_TEST_REDIS": redis}
        self.nodes = Nodes(folder, "kafka-tls", addresses, kafka=broker.login("admin"), environment=broker.environment())
        self.rights = Rights(broker, self.nodes.prefix)

    def doctor(self, **changed):
        """The checks of Kafka by `pushgate doctor`, and its exit code."""
        environment = {**os.environ, **self.broker.environment(**changed)}
        run = [server.binary(), "doctor", "--json", "--config", self.nodes.config]
        out = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=120)
        if not out.stdout:
            return [{"name": "config", "state": "failed", "detail": out.stderr, "remedy": ""}]
        return [check for check in json.loads(out.stdout)["checks"] if check["name"] in ("kafka", "topic", "group")]

    def told(self, what, words, **changed):
        """`doctor` fails, in these words."""
        failed = [check for check in self.doctor(**changed) if check["state"] == "failed"]
        text = json.dumps(failed)
        verdict.fact(failed and all(word in text for word in words), f"doctor tells of {what}", text)
        verdict.fact(self.broker.password("pushgate") not in text, f"no password is in what doctor tells of {what}")

    def ready_but(self, *words, seconds=60):
        """`/readyz` names something in these words."""
        holds = lambda: (lambda answer: answer[0] == 503 and all(word in json.dumps(answer[1]) for word in words))(self.nodes.readiness())
        return verdict.fact(eventually(holds, seconds), f"/readyz tells: {' … '.join(words)}", self.nodes.readiness())

    def ready(self, after, seconds=90):
        ready = eventually(lambda: self.nodes.readiness()[0] == 200, seconds)
        verdict.fact(ready, f"ready by itself after {after}", self.nodes.readiness())


def rights_are_missing(scene):
    prefix = scene.nodes.prefix
    checks = scene.doctor()
    text = json.dumps([check for check in checks if check["state"] == "failed"])
    for lane in ("high", "normal", "low"):
        verdict.fact(f"User:pushgate may not Read and Write topic {prefix}.{lane}: " in text, f"doctor tells that lane {lane} is forbidden", text)
        verdict.fact(f"--operation Read --group {prefix}.{lane}" in text, f"doctor tells how the group of {lane} is allowed", text)
    verdict.fact(f"may not Write topic {prefix}.results: " in text, "doctor tells that results are forbidden", text)


def delivered(scene):
    """With the rights of the book: from a producer, by REST, to the dead letters, and back."""
    from confluent_kafka import Producer

    nodes, prefix = scene.nodes, scene.nodes.prefix
    checks = scene.doctor()
    states = [(check["name"], check["state"]) for check in checks]
    verdict.fact({state for _, state in states} == {"ok"} and len(states) == 6, "doctor finds all topics and rights", checks)
    nodes.start()
    listener = Listener(nodes, scene.folder, "--user", "alice")
    results = Topic(nodes.kafka, f"{prefix}.results", scene.broker.login("admin"))
    try:
        verdict.fact(listener.hello(), "a client connects", listener.frames())
        producer = Producer({**scene.broker.login("producer"), "enable.idempotence": True})
        for lane in ("high", "normal", "low"):
            producer.produce(f"{prefix}.{lane}", json.dumps(message(f"from-{lane}", "alice")), "alice")
        producer.produce(f"{prefix}.high", "{nonsense", "alice")
        verdict.fact(producer.flush(30) == 0, "a producer with the rights of the book writes to the lanes")
        for lane in ("high", "normal", "low"):
            verdict.fact(listener.push(f"from-{lane}"), f"a push of lane {lane} arrives", listener.frames())
            result = results.wait(lambda r: value(r)["message"] == f"from-{lane}" and value(r)["state"] == "delivered")
            verdict.fact(result, f"its result of lane {lane} is written")
        send(scene, "by-rest")
        verdict.fact(listener.push("by-rest"), "a push by REST arrives", listener.frames())
        dead = subprocess.run([server.binary(), "dead", "list", "--config", nodes.config, "--json"], capture_output=True, text=True, timeout=60)
        verdict.fact("JSON" in dead.stdout, "dead letters are written and read", dead.stdout + dead.stderr)
    finally:
        listener.stop()
        results.close()


def send(scene, ident):
    headers = server.basic(scene.nodes.app, SECRET)
    answer = server.http_json(scene.nodes.rest, "POST", "/v1/messages?lane=high", message(ident, "alice"), headers)
    verdict.fact(answer[0] == 202, f"REST takes {ident}", answer)


def rights_go_and_come(scene, bindings):
    """Each is missed in so many words, and what waited for it goes on when it is given."""
    nodes, prefix, rights = scene.nodes, scene.nodes.prefix, scene.rights
    results = Topic(nodes.kafka, f"{prefix}.results", scene.broker.login("admin"))
    try:
        with rights.without(bindings, "READ", f"{prefix}.low"):
            scene.ready_but(f"topic {prefix}.low", f"may not Read topic {prefix}.low", "--operation Read")
            scene.told("a lane that may not be read", [f"User:pushgate may not Read topic {prefix}.low"])
        scene.ready("the lane may be read")
        with rights.without(bindings, "WRITE", f"{prefix}.results"):
            send(scene, "held-up")
            scene.ready_but(f"may not Write topic {prefix}.results")
        held = results.wait(lambda r: value(r)["message"] == "held-up")
        verdict.fact(held, "a result that could not be written is written when it may be")
        scene.ready("results may be written")
    finally:
        results.close()
    nodes.stop()
    group = f"{prefix}."
    with rights.without(bindings, "READ", group):
        for process in nodes.processes.values():
            process.start()
        scene.ready_but(f"may not Read group {prefix}.high")
        log = nodes.log("dispatcher")
    scene.ready("the groups may be joined")
    verdict.fact("--allow-principal User:pushgate --operation Read --group" in log, "the log tells how it is allowed", log[-2000:])


def not_let_in(scene):
    """What keeps everybody out, by doctor and in the log of a dispatcher that waits."""
    broker, nodes = scene.broker, scene.nodes
    nodes.stop()
    other = Authority(scene.folder)
    wrong = {"PASSWORD_FILE": None, "PASSWORD": "not-the-password"}
    scene.told("a wrong password", ["refuses the login", "kafka.password_file"], **wrong)
    scene.told("an authority that is not trusted", ["vouches", "kafka.ca_file"], CA_FILE=other.path("ca.pem"))
    scene.told("a mechanism that is not offered", ["kafka.sasl", "SCRAM-SHA-512"], SASL="scram-sha-256")
    scene.told("a port without TLS", ["kafka.tls"], BROKERS=broker.plain)
    nothing = {"TLS": None, "CA_FILE": None}
    scene.told("a port with TLS that is spoken to without", ["kafka.tls"], **nothing)
    nobody = {"SASL": None, "USER": None, "PASSWORD_FILE": None}
    scene.told("a broker that asks for a login", ["kafka.sasl"], **nobody)
    scene.told("a broker that asks for a certificate", ["kafka.cert_file"], BROKERS=broker.mutual, **nobody)
    scene.told("a file that is not there", ["kafka.ca_file: cannot read /no/such"], CA_FILE="/no/such")
    waiting = Waiting(scene, wrong)
    try:
        waiting.process.start()
        scene.ready_but("refuses the login", "kafka brokers")
        log = waiting.log()
        verdict.fact("the broker refuses the login" in log, "the log of a dispatcher with a wrong password tells it", log[-2000:])
        verdict.fact(log.count("\n") < 40, "and does not repeat itself", log)
        verdict.fact("not-the-password" not in log, "the password is not in it")
    finally:
        waiting.process.stop()


class Waiting:
    """The dispatcher with something changed in `[kafka]`."""

    def __init__(self, scene, changed):
        self.path = f"{scene.folder}/waiting.log"
        self.process = server.Process("dispatcher", ["dispatcher", "--config", scene.nodes.config], scene.broker.environment(**changed), self.path)

    def log(self):
        return pathlib.Path(self.path).read_text()


def certificates(scene):
    """Who shows a certificate needs no password."""
    broker = scene.broker
    scene.rights.give("pushgate", "User:CN=client")
    shown = {"BROKERS": broker.mutual, "CERT_FILE": broker.path("client.pem"), "KEY_FILE": broker.path("client-key.pem"),
             "SASL": None, "USER": None, "PASSWORD_FILE": None}
    checks = scene.doctor(**shown)
    verdict.fact(checks and all(check["state"] == "ok" for check in checks), "a certificate is a login, and has the rights of its name", checks)
    plain = scene.doctor(SASL="plain")
    verdict.fact(plain and all(check["state"] == "ok" for check in plain), "so is a password as it is, within TLS", plain)


def secrets_stay(scene):
    secret = scene.broker.password("pushgate")
    told = "".join(scene.nodes.log(half) for half in scene.nodes.processes)
    verdict.fact(secret not in told, "no password is in the logs")
    environment = {**os.environ, **scene.broker.environment(PASSWORD_FILE=None, PASSWORD=secret)}
    run = [server.binary(), "config", "print", "--config", scene.nodes.config]
    printed = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60)
    verdict.fact('password = "[secret]"' in printed.stdout and secret not in printed.stdout, "config print hides it", printed.stdout + printed.stderr)


def test(folder):
    with services.private():
        redis = os.environ.get("PUSHGATE_TEST_REDIS") or services.services("up", "redis")["PUSHGATE_TEST_REDIS"]
        broker = Broker(services.services("up", "kafka-tls"))
        scene = Scene(folder, broker, redis)
        given = []
        try:
            rights_are_missing(scene)
            given = scene.rights.give("pushgate")
            given += scene.rights.give("producer")
            delivered(scene)
            rights_go_and_come(scene, given)
            not_let_in(scene)
            certificates(scene)
            secrets_stay(scene)
        finally:
            scene.nodes.stop()
            server.keep_logs(folder, "kafka-tls")
            if given:
                scene.rights.take(given)
            services.services("down", "kafka-tls")


def main():
    with tempfile.TemporaryDirectory(prefix="pushgate-kafka-tls-") as folder:
        test(folder)


verdict.run(main)
