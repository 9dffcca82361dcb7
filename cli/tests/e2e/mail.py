#!/usr/bin/env python3
"""Mail as others see it: sent by `pushgate dev` to a server of other people's making, read with Python's parser, its signatures checked with dkimpy.

  mail.py [SEED]

Every mail of a corpus (scripts, long words, attachments, texts that try to be headers, commands or ends of mails, and such texts put together at random) has two good signatures, by an RSA and an
Ed25519 key whose records `pushgate dkim` prints, says what the message says, and is to its recipient alone. Whatever is changed or added on the
way breaks both signatures.
"""

import base64
import email
import email.policy
import json
import random
import subprocess
import sys
import tempfile
import unicodedata

import dkim

import server
from dev import Dev
from mail_sink import Sink
from verdict import Verdict, eventually

verdict = Verdict()
PATIENCE_S = 60
CONFIG = """
[[email]]
name = "relay"
kind = "smtp"
url = "smtp://{sink}?tls=never"
from = "Grüße & Söhne <shop@mail.example.org>"
[email.connection]
open_ms = 60000
[[email.dkim]]
selector = "rsa1"
key_file = "{folder}/rsa.pem"
[[email.dkim]]
domain = "example.org"
selector = "ed1"
key_file = "{folder}/ed.pem"
[channels.email]
deadline_ms = 60000
"""
HEADERS = {"date", "from", "to", "cc", "message-id", "reply-to", "subject", "mime-version", "content-type",
           "content-transfer-encoding", "list-unsubscribe", "list-unsubscribe-post", "dkim-signature"}
HOSTILE = [
    "\r\nBcc: x@evil.example", "\nSubject: second\n\nbody", "\r\n.\r\nMAIL FROM:<x@evil.example>\r\n", "\r\n.\r\n", "\n.\n", "\r.\r",
    "\u2028Bcc: x@evil.example", "\u0085X: y", "=?utf-8?q?=0D=0ABcc:_x@evil.example?=", "=?utf-8?b?DQpCY2M6IHg=?=", "\"; filename=\"evil",
    "a\0b", "\x1b[2J", "<x@evil.example>", "To: x@evil.example", "." * 2000, "x" * 3000, "ü" * 1500, "文字" * 700, " \t " * 400, "e\u0301\u202e\U0001f469\u200d\U0001f680",
    "DATA\r\nQUIT\r\n", "--==boundary--\r\n", "DKIM-Signature: v=1", "  leading", "trailing  ", "tab\tin\tit", "From someone",
]


SEED = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(1 << 32)
RANDOM_TEXTS = 60


def texts():
    """Hostile texts, and as many of their pieces in any order."""
    chance = random.Random(SEED)
    yield from HOSTILE
    for _ in range(RANDOM_TEXTS):
        pieces = (chance.choice(HOSTILE) for _ in range(chance.randrange(1, 7)))
        yield "".join(piece[:chance.randrange(1, 200)] for piece in pieces)


def corpus():
    """Messages: (overrides, content)."""
    yield {}, {"title": "Order 17", "body": "It left."}
    yield {"html": "<p>It <b>left</b>.</p>", "reply_to": "help@bücher.example", "unsubscribe": "https://example.org/u?id=17"}, {"title": "Grüße", "body": "Zeile\n.Punkt\n.\n\n\n"}
    image = base64.b64encode(bytes(range(256)) * 40).decode()
    yield {"html": "<img src=\"cid:logo\">", "attachments": [{"name": "löwe.png", "type": "image/png", "base64": image, "cid": "logo"},
                                                          {"name": "a.bin", "type": "application/octet-stream", "base64": image}]}, {"title": "Files", "body": "b"}
    yield {}, {"title": "Large", "body": "A line with  two spaces and a tab\t.\n" * 8000}
    for text in texts():
        # A subject with control characters is refused; a title takes the same way into the mail.
        subject = {} if any(unicodedata.category(c) == "Cc" for c in text) else {"subject": text}
        yield {**subject, "text": text, "html": text, "attachments": [{"name": text, "type": "text/plain", "base64": base64.b64encode(text.encode()).decode()}]}, {"title": "t"}
        yield {}, {"title": text, "body": text}


def records(folder):
    """The TXT records to publish, by name, as the command prints them."""
    out = subprocess.run([server.binary(), "dkim", "--config", f"{folder}/mail.toml", "--account", "relay", "--json"], check=True, capture_output=True)
    found = [json.loads(line) for line in out.stdout.splitlines()]
    zone = subprocess.run([server.binary(), "dkim", "--config", f"{folder}/mail.toml"], check=True, capture_output=True, text=True).stdout.splitlines()
    for record, line in zip(found, zone):
        name, text = line.split(". IN TXT ")
        joined = "".join(text.strip('"').split('" "'))
        verdict.fact((name, joined) == (record["name"], record["value"]), f"{name}: both forms are the same", line)
    return {record["name"] + ".": record["value"].encode() for record in found}


def holds(mail, published, at):
    """Whether a signature is good. One that cannot be read is not."""
    try:
        return dkim.DKIM(mail).verify(idx=at, dnsfunc=lambda name, timeout=5: published.get(name.decode() if isinstance(name, bytes) else name))
    except (dkim.DKIMException, ValueError):
        return False


def changed(mail):
    """The mail as somebody may change it on the way: (what, mail)."""
    head, body = mail.split(b"\r\n\r\n", 1)
    yield "a line is added to the body", head + b"\r\n\r\n" + body + b"x\r\n"
    yield "a byte of the body is another", head + b"\r\n\r\n" + body.replace(b"e", b"f", 1)
    for name in (b"From", b"To", b"Subject", b"Date", b"Message-ID", b"MIME-Version"):
        yield f"{name.decode()} is another", head.replace(b"\r\n" + name + b": ", b"\r\n" + name + b": x", 1) + b"\r\n\r\n" + body
    for name in (b"From", b"To", b"Cc", b"Subject", b"Reply-To", b"Date", b"Content-Type"):
        yield f"a {name.decode()} is added", head + b"\r\n" + name + b": evil@evil.example\r\n\r\n" + body
        yield f"a {name.decode()} is put before all", name + b": evil@evil.example\r\n" + mail


def printable(text):
    """What can be said in a header or a text: lines and control characters may be gone, the rest not."""
    return "".join(c for c in text if not (ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029 "))


def check(sink, published, at, overrides, content):
    recipient = f"r{at}@example.net"
    found = eventually(lambda: sink.to(recipient), PATIENCE_S)
    if not verdict.fact(len(found) == 1, f"mail {at} came once", found):
        return
    sender, to, raw = found[0]
    parsed = email.message_from_bytes(raw, policy=email.policy.SMTP)
    names = [name.lower() for name in parsed.keys()]
    alone = sorted(set(names)) == sorted(name for name in names if name != "dkim-signature") + ["dkim-signature"] or len(set(names)) == len(names) - 1
    subject = overrides.get("subject", content.get("title"))
    text = overrides.get("text", content.get("body", ""))
    body = parsed.get_body(("plain",)).get_content()
    signed = [holds(raw, published, n) for n in (0, 1)]
    attachments = [(a.get_content_disposition(), a.get_payload(decode=True)) for a in parsed.walk() if a.get_filename() is not None]
    wanted = [base64.b64decode(a["base64"]) for a in overrides.get("attachments", [])]
    facts = {
        "two good signatures": signed == [True, True],
        "our sender and its one recipient": (sender, to) == ("shop@mail.example.org", [recipient]),
        "our headers alone, each once": set(names) <= HEADERS and alone,
        "its subject": printable(str(parsed["Subject"])) == printable(subject),
        "its text": printable(body) == printable(text),
        "its attachments": sorted(data for _, data in attachments) == sorted(wanted),
        "lines that fit": max(len(line) for line in raw.split(b"\r\n")) <= 998 and b"\n" not in raw.replace(b"\r\n", b""),
    }
    wrong = [name for name, holds_true in facts.items() if not holds_true]
    verdict.fact(not wrong, f"mail {at} has what it should", (wrong, subject[:60], raw[:1500]))


def test():
    print(f"seed {SEED}")
    sink = Sink()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", f"{folder}/rsa.pem"], check=True, capture_output=True)
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{folder}/ed.pem"], check=True, capture_output=True)
        with open(f"{folder}/mail.toml", "w", encoding="utf-8") as file:
            file.write(CONFIG.format(sink=sink.address, folder=folder))
        dev = Dev(folder)
        dev.process.arguments += ["--config", f"{folder}/mail.toml"]
        try:
            dev.start()
            headers = dev.headers()
            published = records(folder)
            verdict.fact(set(published) == {"rsa1._domainkey.mail.example.org.", "ed1._domainkey.example.org."}, "a record for each key", published)
            every = list(corpus())
            for at, (overrides, content) in enumerate(every):
                message = {"id": f"m{at}", "to": {"emails": [f"r{at}@example.net"]}, "channels": ["email"], "content": content, "overrides": {"email": overrides}}
                status, answer = server.http_json(dev.rest, "POST", "/v1/messages", message, headers)
                verdict.fact(status == 202, f"m{at} is accepted", answer)
            for at, (overrides, content) in enumerate(every):
                check(sink, published, at, overrides, content)
            verdict.fact(set(sink.commands) <= {"EHLO", "MAIL", "RCPT", "DATA", "RSET", "QUIT"} and sink.commands.count("RCPT") == len(sink.mails) == len(every),
                         "no command but ours came", (set(sink.commands), len(sink.mails)))
            for at in (1, 2):
                for what, mail in changed(sink.to(f"r{at}@example.net")[0][2]):
                    good = [holds(mail, published, n) for n in (0, 1)]
                    verdict.fact(good == [False, False], f"mail {at}: {what}, and no signature is good", good)
        finally:
            dev.process.stop()
            sink.close()
            server.keep_logs(folder, "mail")


if __name__ == "__main__":
    verdict.run(test)
