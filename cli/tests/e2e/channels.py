#!/usr/bin/env python3
"""Mail, text messages and webhooks on real Kafka and Redis: gateway and dispatcher as processes of their own, `stub` for every provider.

  channels.py

Each recipient ends as its provider says: sent, sent after `retry_after`, failed for a dead address, dead after the last attempt. That is
judged from the results topic, REST, `pushgate explain`, `pushgate dead` and what a webhook receives, each record asked for by what it is.
What one-time codes say is in none of them, however they end, nor in a log.
It uses the services that PUSHGATE_TEST_KAFKA and PUSHGATE_TEST_REDIS name, else those of `scripts/services up`.
"""

import http.client
import json
import os
import subprocess
import tempfile
import urllib.request

import server
import services
from authority import Authority
from nodes import SECRET, Nodes
from receiver import Receiver
from services import Topic, value
from verdict import Verdict, eventually

verdict = Verdict()

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HOOK_SECRET = "the secret of the test webhook"
PATIENCE_S = 120
# One message for each account, so that its answers are given to that message in turns. Attempts are not given up early on a busy machine.
ACCOUNTS = """
[apps.webhook]
url = "{hook}"
secret = "{secret}"
ca_file = "{ca}"

[[apps]]
id = "{app}-strict"
secrets = [{{ id = "s1", secret = "the secret of the test app" }}]
webhook = {{ url = "{hook}", secret = "{secret}" }}

[[email]]
name = "steady"
kind = "stub"
url = "stub:sent"
[[email]]
name = "busy"
kind = "stub"
url = "stub:retry_after=1s,sent"
[[email]]
name = "down"
kind = "stub"
url = "stub:unavailable,unavailable,unavailable,sent"
[[sms]]
name = "steady"
kind = "stub"
url = "stub:delivered"
[[sms]]
name = "busy"
kind = "stub"
url = "stub:retry_after,sent"
[[sms]]
name = "wrong"
kind = "stub"
url = "stub:address_dead"
[[sms]]
name = "down"
kind = "stub"
url = "stub:unavailable"

[channels.email]
attempts_max = 3
backoff_base_ms = 50
deadline_ms = 60000
[channels.sms]
attempts_max = 2
backoff_base_ms = 50
deadline_ms = 60000
"""
# How a code ends through the account of this name, and the stub's answers.
CODE_ENDS = {"sent": ("sent", "sent"), "again": ("sent", "retry_after=1s,unknown,sent"), "wrong": ("failed", "address_dead"), "dead": ("failed", "unavailable")}
ACCOUNTS += "".join(f'\n[[{channel}]]\nname = "code-{name}"\nkind = "stub"\nurl = "stub:{answers}"\n'
                    for channel in ("email", "sms") for name, (_, answers) in CODE_ENDS.items())
CODE = "9174620385"
ADDRESS = {"email": "ann@example.org", "sms": "+8613800000000"}


class Scene:
    """The nodes, who calls them, and what comes out."""

    def __init__(self, nodes, receiver):
        self.nodes, self.receiver = nodes, receiver
        self.headers = server.basic(nodes.app, SECRET)
        self.topics = {}

    def topic(self, name):
        if name not in self.topics:
            self.topics[name] = Topic(self.nodes.kafka, f"{self.nodes.prefix}.{name}")
        return self.topics[name]

    def close(self):
        for topic in self.topics.values():
            topic.close()

    def send(self, ident, channel, account, app=None, **more):
        to = {"email": "emails", "sms": "phones"}[channel]
        message = {"id": ident, "to": {to: [ADDRESS[channel]]}, "channels": [channel], "content": {"title": "Hi", "body": f"body of {ident}"},
                   "overrides": {channel: {"account": account}}, **more}
        headers = server.basic(app, SECRET) if app else self.headers
        status, answer = server.http_json(self.nodes.rest, "POST", "/v1/messages", message, headers)
        verdict.fact(status == 202, f"{ident} is accepted", (status, answer))

    def result(self, ident, state, **wanted):
        """The results topic has this state of the message, with these values."""
        def meant(record):
            if record.key() is None or record.key().split(b"/")[0] != ident.encode():
                return False
            found = value(record)
            return found["state"] == state and all(found.get(key) == want for key, want in wanted.items())

        record = self.topic("results").wait(meant, PATIENCE_S)
        told = [value(r) for r in self.topic("results").records if r.key() and r.key().split(b"/")[0] == ident.encode()]
        verdict.fact(record is not None, f"{ident}: a result {state} {wanted}", told)

    def states(self, ident, *wanted, reason=None):
        """REST tells these states of the one recipient, in this order."""
        def ask():
            status, view = server.http_json(self.nodes.rest, "GET", f"/v1/messages/{ident}", headers=self.headers)
            recipients = view["recipients"] if status == 200 else []
            told = [entry["state"] for r in recipients for entry in r["history"]]
            return view if told == list(wanted) else self.last.update(view=view)

        self.last = {}
        view = eventually(ask, PATIENCE_S)
        if verdict.fact(view, f"{ident}: GET /v1/messages tells {' then '.join(wanted)}", self.last) and reason:
            verdict.fact(view["recipients"][0]["reason"] == reason, f"{ident}: the reason is {reason!r}", view["recipients"])

    def run(self, *words):
        """The output of a command, which must end with 0."""
        command = [server.binary(), *words, "--config", self.nodes.config, "--app", self.nodes.app]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        verdict.fact(done.returncode == 0, f"pushgate {' '.join(words)} ends with 0", (done.returncode, done.stderr))
        return done.stdout

    def explained(self, ident, *words):
        lines = self.run("explain", ident).splitlines()
        missing = [word for word in words if not any(word in line for line in lines)]
        verdict.fact(not missing, f"{ident}: explain tells it", (missing, lines))

    def posted(self, app, ident, state):
        """The webhook took this state of the message."""
        def came():
            return any(a == app and r["message"] == ident and r["state"] == state for a, r in self.receiver.results())

        verdict.fact(eventually(came, PATIENCE_S), f"{ident}: the webhook was posted {state}", [r for _, r in self.receiver.results()])

    def metric(self, name, **labels):
        with urllib.request.urlopen(f"http://{self.nodes.rest}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        wanted = [f'{key}="{text}"' for key, text in labels.items()]
        named = (line for line in lines if line.startswith(f"pushgate_dispatcher_{name}{{"))
        return sum(float(line.rsplit(" ", 1)[1]) for line in named if all(want in line for want in wanted))


def sent_and_tried_again(scene):
    scene.send("mail-1", "email", "steady", traceparent=TRACE)
    scene.result("mail-1", "sent", channel="email", account="steady", provider_id="stub-mail-1", attempt=1,
                 recipient={"user": ADDRESS["email"]}, traceparent=TRACE)
    scene.states("mail-1", "sent")
    scene.explained("mail-1", "mail-1: 1 sent.", f"{ADDRESS['email']}, email: the provider took it")
    scene.send("sms-1", "sms", "steady")
    scene.result("sms-1", "delivered", channel="sms", account="steady", attempt=1, recipient={"user": ADDRESS["sms"]})
    scene.states("sms-1", "delivered")
    for channel in ("email", "sms"):
        ident = f"{channel}-again"
        scene.send(ident, channel, "busy", traceparent=TRACE)
        scene.result(ident, "scheduled", channel=channel, account="busy", attempt=1, reason="the stub says so", traceparent=TRACE)
        scene.result(ident, "sent", channel=channel, account="busy", attempt=2, provider_id=f"stub-{ident}", traceparent=TRACE)
        scene.states(ident, "scheduled", "sent")
    scene.explained("email-again", "email-again: 1 sent.", "email: it waits in the schedule to be tried", "email: the provider took it")
    scene.send("sms-wrong", "sms", "wrong")
    scene.result("sms-wrong", "failed", channel="sms", account="wrong", attempt=1, reason="address_dead: the stub says so")
    scene.states("sms-wrong", "failed", reason="address_dead: the stub says so")
    _, tasks = server.http_json(scene.nodes.rest, "GET", "/v1/tasks", headers=scene.headers)
    verdict.fact(tasks["tasks"] == [], "what is tried again is nobody's task", tasks)


def dead_and_replayed(scene):
    nodes = scene.nodes
    for channel, attempts in (("email", 3), ("sms", 2)):
        ident = f"{channel}-dead"
        scene.send(ident, channel, "down", meta={"order": 17})
        scene.result(ident, "failed", channel=channel, account="down", attempt=attempts, reason="the stub says so", meta={"order": 17})
        scene.states(ident, "scheduled", "failed", reason="the stub says so")
        letter = scene.topic("dead").wait(lambda r: r.value() and json.loads(r.value()).get("id") == ident, PATIENCE_S)
        if not verdict.fact(letter is not None, f"{ident}: is in the dead topic", [r.value() for r in scene.topic("dead").records]):
            continue
        headers = {key: text.decode() for key, text in letter.headers() or []}
        exact = headers["attempts"] == str(attempts) and headers["origin"].startswith(f"{nodes.prefix}.normal/") and \
            headers["reason"] == "the stub says so"
        verdict.fact(exact, f"{ident}: the letter has reason, attempts, origin", headers)
    listed = [line.split("  ") for line in scene.run("dead", "list").splitlines()]
    verdict.fact(len(listed) == 2 and all(line[2] == "the stub says so" for line in listed), "dead list tells both letters", listed)
    shown = {}
    for line in listed:
        letter = json.loads(scene.run("dead", "show", line[0]))
        shown[letter["content"]["id"]] = letter
    if not verdict.fact(set(shown) == {"email-dead", "sms-dead"}, "dead show tells their content", shown):
        return
    letter = shown["email-dead"]
    verdict.fact(letter["attempts"] == 3 and letter["content"]["to"] == {"emails": [ADDRESS["email"]]},
                 "a letter is the message to its one recipient, with its attempts", letter)
    again = scene.run("dead", "replay", letter["id"]).strip()
    verdict.fact(again and again != "email-dead", "a replay is a new message", again)
    # The provider is up by now: its fourth answer is that it took it.
    scene.result(again, "sent", channel="email", account="down", attempt=1, provider_id=f"stub-{again}")
    scene.states(again, "sent")
    verdict.fact(scene.run("dead", "replay", letter["id"]).strip() == again, "a letter replayed twice is one message")
    scene.states("email-dead", "scheduled", "failed", reason="the stub says so")


def webhooks(scene):
    app, receiver = scene.nodes.app, scene.receiver
    for ident, state in (("mail-1", "sent"), ("sms-1", "delivered"), ("email-again", "scheduled"), ("email-again", "sent"),
                         ("sms-again", "sent"), ("sms-wrong", "failed"), ("email-dead", "failed"), ("sms-dead", "failed")):
        scene.posted(app, ident, state)
    verdict.fact(eventually(receiver.came_again, PATIENCE_S), "the batch that was answered 500 came again as it was", receiver.posts)
    verdict.fact(not receiver.forged, "every batch is signed with the webhook's secret", receiver.forged)
    failures = scene.metric("webhook_failures_total", app=app)
    verdict.fact(failures >= 1, "the failed post is counted", failures)


def codes(scene):
    app, results, dead = scene.nodes.app, scene.topic("results"), scene.topic("dead")
    said = {"title": f"{CODE} is your code", "body": f"your code is {CODE}"}
    own = {"email": {"subject": CODE, "text": CODE, "html": f"<b>{CODE}</b>"}, "sms": {"text": CODE, "sign": "S", "template": "T", "params": {"1": CODE}}}
    for channel in own:
        for name, (state, _) in CODE_ENDS.items():
            if (channel, name) == ("sms", "again"):
                # A text message that may have been sent is not sent again.
                state = "unknown"
            ident = f"code-{channel}-{name}"
            scene.send(ident, channel, None, **{"class": "otp", "content": said, "overrides": {channel: {**own[channel], "account": f"code-{name}"}}})
            scene.result(ident, state, channel=channel, account=f"code-{name}")
            scene.posted(app, ident, state)
            if name == "dead":
                letter = dead.wait(lambda r, ident=ident: r.key() == ident.encode(), PATIENCE_S)
                verdict.fact(letter is not None and not letter.value(), f"{ident}: its dead letter has no content", letter and letter.value())
    for topic in (results, dead):
        records = topic.read(topic.count())
        told = b"".join((r.key() or b"") + (r.value() or b"") + repr(r.headers()).encode() for r in records)
        verdict.fact(len(records) >= 2 and CODE.encode() not in told, f"no code is in {topic.name}", [r.value() for r in records if CODE.encode() in (r.value() or b"")])
    posts = [body for body, _ in scene.receiver.posts if CODE.encode() in body]
    verdict.fact(not posts, "no code was posted to the webhook", posts[:3])
    for name in scene.nodes.processes:
        log = scene.nodes.log(name)
        verdict.fact(log and CODE not in log, f"no code is in the log of the {name}", [line for line in log.splitlines() if CODE in line][:3])


def untrusted(scene):
    """A webhook whose certificate is not trusted: the app without the authority's file."""
    strict = f"{scene.nodes.app}-strict"
    scene.send("strict-1", "email", "steady", app=strict)
    refused = eventually(lambda: scene.metric("webhook_failures_total", app=strict) >= 1, PATIENCE_S)
    verdict.fact(refused, "an untrusted certificate fails the post", scene.metric("webhook_failures_total", app=strict))
    logged = eventually(lambda: [line for line in scene.nodes.log("dispatcher").splitlines() if strict in line and "webhook" in line], PATIENCE_S)
    verdict.fact(logged and "certificate" in logged[0] and "UnknownIssuer" in logged[0], "the log says why", logged)
    verdict.fact(all(a != strict for a, _ in scene.receiver.results()), "nothing is posted there", scene.receiver.results())


def test():
    names = ("PUSHGATE_TEST_KAFKA", "PUSHGATE_TEST_REDIS")
    addresses = {name: os.environ[name] for name in names} if all(n in os.environ for n in names) else services.services("up")
    with tempfile.TemporaryDirectory(prefix="pushgate-channels-") as folder:
        authority = Authority(folder)
        receiver = Receiver(authority.path("cert.pem"), authority.path("key.pem"), HOOK_SECRET.encode())
        more = ACCOUNTS.format(hook=receiver.url, secret=HOOK_SECRET, ca=authority.path("ca.pem"), app=f"channels-{os.getpid()}")
        nodes = Nodes(folder, "channels", addresses, more=more)
        scene = Scene(nodes, receiver)
        try:
            nodes.start()
            sent_and_tried_again(scene)
            dead_and_replayed(scene)
            webhooks(scene)
            codes(scene)
            untrusted(scene)
            for name, process in nodes.processes.items():
                code = process.interrupt(60)
                verdict.fact(code == 0, f"Ctrl-C ends the {name} with 0", (code, nodes.log(name)[-500:]))
        except (OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
            raise server.Failed(f"{type(error).__name__}: {error}") from error
        finally:
            nodes.stop()
            receiver.stop()
            scene.close()
            services.delete_topics(nodes.kafka, nodes.prefix)
            server.keep_logs(folder, "channels")


verdict.run(test)
