#!/usr/bin/env python3
"""Text messages through HTTP providers, judged by the providers' own libraries: what is signed is what they would sign, and a call that
Twilio's library signs is believed. And one-time codes by text message and mail: what they say is nowhere to be read.

  sms.py

One `pushgate dev` that logs all it can, and an HTTP server in the place of the providers.
"""

import hashlib
import http.server
import json
import os
import queue
import tempfile
import threading
import time
import urllib.parse

import server
from alibabacloud_tea_openapi.utils import Utils
from dev import Dev
from tencentcloud.common.sign import Sign
from twilio.request_validator import RequestValidator
from verdict import Verdict, eventually

verdict = Verdict()
SECRET = "the secret of the test account"
MARKER = "71-marker-93"
PUBLIC = "https://push.example.org"
CONFIG = """
[[sms]]
name = "aliyun"
kind = "aliyun"
url = "http://KEY@{api}"
password = "{secret}"
[[sms]]
name = "tencent"
kind = "tencent"
url = "http://KEY@{api}?app=14"
password = "{secret}"
[[sms]]
name = "twilio"
kind = "twilio"
url = "http://AC1@{api}"
password = "{secret}"
from = "+15005550006"
callback_url = "{public}"
[[sms]]
name = "dead"
kind = "stub"
url = "stub:unavailable"
[[sms]]
name = "slow"
kind = "stub"
url = "stub:retry_after=1h"
[[email]]
name = "dead"
kind = "stub"
url = "stub:unavailable"
[[email]]
name = "slow"
kind = "stub"
url = "stub:retry_after=1h"
[channels.sms]
attempts_max = 2
backoff_base_ms = 10
deadline_ms = 60000
[channels.email]
attempts_max = 2
backoff_base_ms = 10
"""


class Api(http.server.BaseHTTPRequestHandler):
    """Takes everything, as each provider says it."""

    calls = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        Api.calls.put((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        answer = {"Code": "OK", "BizId": "9^0", "sid": "SM1",
                  "Response": {"SendStatusSet": [{"Code": "Ok", "SerialNo": "5:1"}]}}
        text = json.dumps(answer).encode()
        self.send_response(201 if "Messages" in self.path else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Signed:
    """What Aliyun's library signs."""

    def __init__(self, headers):
        signed = {name: value for name, value in headers.items() if name in ("content-type", "host") or name.startswith("x-acs-")}
        self.method, self.pathname, self.query, self.headers = "POST", "/", {}, signed


def send(dev, headers, message):
    status, answer = server.http_json(dev.rest, "POST", "/v1/messages", message, headers)
    verdict.fact(status == 202, f"{message['id']} is accepted", answer)
    return answer


def shown(dev, headers, message):
    return server.http_json(dev.rest, "GET", f"/v1/messages/{message}", None, headers)[1]


def until(dev, headers, message, state):
    answer = eventually(lambda: (lambda view: view if state in view.get("summary", {}) else None)(shown(dev, headers, message)), 120)
    verdict.fact(answer, f"{message} is {state}", shown(dev, headers, message))


def by_account(account, name):
    return {"id": name, "to": {"phones": ["+8613800138000"]}, "channels": ["sms"], "content": {"body": "b"},
            "overrides": {"sms": {"account": account, "sign": "店", "template": "T", "params": {"1": "x &+/ 你"}}}}


def signatures(dev, headers):
    send(dev, headers, by_account("aliyun", "a1"))
    _, asked, body = Api.calls.get(timeout=120)
    expected = Utils.get_authorization(Signed(asked), "ACS3-HMAC-SHA256", Utils.hex_encode(Utils.hash(body, "ACS3-HMAC-SHA256")), "KEY", SECRET)
    verdict.fact(asked["authorization"] == expected, "Aliyun's library signs the same", (asked, expected))
    send(dev, headers, by_account("tencent", "t1"))
    _, asked, body = Api.calls.get(timeout=120)
    moment = int(asked["x-tc-timestamp"])
    day = time.strftime("%Y-%m-%d", time.gmtime(moment))
    canonical = f"POST\n/\n\ncontent-type:{asked['content-type']}\nhost:{asked['host']}\n\ncontent-type;host\n{hashlib.sha256(body).hexdigest()}"
    text = f"TC3-HMAC-SHA256\n{moment}\n{day}/sms/tc3_request\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = Sign.sign_tc3(SECRET, day, "sms", text)
    verdict.fact(asked["authorization"].endswith(f"Signature={signature}"), "Tencent's library signs the same", (asked, signature))


def callback(dev, headers):
    send(dev, headers, by_account("twilio", "w1"))
    _, _, body = Api.calls.get(timeout=120)
    url = dict(urllib.parse.parse_qsl(body.decode()))["StatusCallback"]
    verdict.fact(url.startswith(f"{PUBLIC}/v1/hooks/sms/twilio?"), "Twilio is told where to call", url)
    until(dev, headers, "w1", "sent")
    fields = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+8613800138000", "AccountSid": "AC1"}
    for signature, wanted in [("wrong", 401), (RequestValidator(SECRET).compute_signature(url, fields), 204)]:
        connection = server.http.client.HTTPConnection(dev.rest, timeout=30)
        connection.request("POST", url.removeprefix(PUBLIC), urllib.parse.urlencode(fields),
                           {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature})
        answer = connection.getresponse()
        verdict.fact(answer.status == wanted, f"a call is answered {wanted}", (answer.status, answer.read()))
        connection.close()
    until(dev, headers, "w1", "delivered")


def codes(dev, headers, folder):
    said = {"title": MARKER, "body": f"your code is {MARKER}"}
    overrides = {"text": MARKER, "sign": "S", "template": "T", "params": {"1": MARKER}}
    for account, state in [("dead", "failed"), ("slow", "expired")]:
        for channel, to, own in [("sms", {"phones": ["+8613800138000"]}, overrides),
                                 ("email", {"emails": ["a@example.org"]}, {"subject": MARKER, "text": MARKER, "html": MARKER})]:
            name = f"{channel}-{account}"
            answer = send(dev, headers, {"id": name, "class": "otp", "to": to, "channels": [channel], "content": said,
                                         "overrides": {channel: {**own, "account": account}}})
            verdict.fact(answer.get("lane") == "high", f"{name} goes into lane high", answer)
            # What may be tried again in an hour is worth nothing then: it ends at once.
            until(dev, headers, name, state)
    told = [shown(dev, headers, f"{channel}-{account}") for channel in ("sms", "email") for account in ("dead", "slow")]
    for path in ["/v1/tasks", "/v1/dead", "/v1/messages", "/metrics"]:
        told.append(server.http_json(dev.rest, "GET", path, None, headers)[1])
    letters = server.http_json(dev.rest, "GET", "/v1/dead", None, headers)[1]
    for letter in letters.get("letters", letters.get("items", [])):
        told.append(server.http_json(dev.rest, "GET", f"/v1/dead/{letter['id']}", None, headers)[1])
    verdict.fact(len(told) > 8, "there are dead letters to look at", letters)
    verdict.fact(MARKER not in repr(told), "no code is in states, tasks, dead letters or metrics", told)
    log = open(dev.log, encoding="utf-8", errors="replace").read()
    verdict.fact(len(log) > 0 and MARKER not in log, "no code is in the log", [line for line in log.splitlines() if MARKER in line][:5])


def test():
    api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "dev.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(api=f"127.0.0.1:{api.server_port}", secret=SECRET, public=PUBLIC))
        dev = Dev(folder, {"PUSHGATE__LOG__LEVEL": "trace"})
        dev.process.arguments += ["--config", config]
        try:
            dev.start()
            headers = dev.headers()
            signatures(dev, headers)
            callback(dev, headers)
            codes(dev, headers, folder)
        finally:
            dev.process.stop()
            server.keep_logs(folder, "sms")
            api.shutdown()


verdict.run(test)
