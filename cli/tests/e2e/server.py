"""Starts, kills and asks Pushgate processes; mints client tokens."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]


def binary():
    """The binary under test: PUSHGATE_BIN, else the release build."""
    return os.environ.get("PUSHGATE_BIN", str(ROOT / "target/release/pushgate"))


class Failed(Exception):
    """The test cannot go on; the text says why."""


# Given out by this process, each by a name that the kernel lets one socket have and takes back when the process ends: most ports
# are drawn before anything listens on them.
reserved_ports = []


def free_port():
    """A port that nothing listens on, below the ephemeral range: an outgoing connection must not sit on it when a killed server
    starts again. Never the same twice, in this process or another."""
    while True:
        port = random.SystemRandom().randrange(10_000, 15_000)
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            reservation.bind(f"\0pushgate-port-{port}")
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        reserved_ports.append(reservation)
        return port


def end_on_sigterm():
    """SIGTERM unwinds like an exit, so that whatever was started is ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def mint(key, app, user, device, ttl=3600):
    """An HS256 client token, made without the product's help."""
    head = _b64(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = _b64(json.dumps({"sub": user, "app": app, "dev": device, "exp": int(time.time()) + ttl}).encode())
    mac = hmac.new(key, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{_b64(mac)}"


class Process:
    """A Pushgate process that can be killed and started again with the same arguments."""

    def __init__(self, name, arguments, environment, log):
        self.name, self.arguments, self.log = name, arguments, log
        self.environment = {**os.environ, **environment}
        self.child = None

    def start(self):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen([binary(), *self.arguments], env=self.environment, stdout=log, stderr=log)
        return self

    def kill(self):
        """kill -9, at once."""
        self.child.kill()
        self.child.wait()

    def interrupt(self, timeout=30):
        """Ctrl-C; returns the exit code."""
        self.child.send_signal(signal.SIGINT)
        return self.child.wait(timeout)

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def http_json(address, method, path, body=None, headers=None, timeout=30):
    """(status, parsed body) of one request."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text[:1] in (b"{", b"[") else text
    finally:
        connection.close()


def wait_ready(address, seconds=60):
    """Waits until /readyz answers 200."""
    until = time.monotonic() + seconds
    last = None
    while time.monotonic() < until:
        try:
            status, last = http_json(address, "GET", "/readyz", timeout=2)
            if status == 200:
                return
        except (OSError, http.client.HTTPException) as error:
            last = error
        time.sleep(0.05)
    raise Failed(f"{address} is not ready after {seconds} s: {last}")


def basic(app, secret):
    return {"Authorization": "Basic " + base64.b64encode(f"{app}:{secret}".encode()).decode()}


def keep_logs(folder, name):
    """Copies the servers' logs to target/e2e-logs, so that a failed run can be read."""
    target = ROOT / "target/e2e-logs"
    target.mkdir(parents=True, exist_ok=True)
    for log in pathlib.Path(folder).glob("*.log"):
        (target / f"{name}-{log.name}").write_bytes(log.read_bytes())
