#!/usr/bin/env python3
"""The first push as a newcomer makes it: `pushgate dev`, then the lines of its banner, as they are, from another shell.

  first_push.py

Also what a wrong start is told: a second server on the same data or ports, a damaged data directory.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import urllib.request

import server
from dev import Dev
from verdict import Verdict, eventually

verdict = Verdict()


class Shell:
    """A line running in a shell of its own, in another folder, without our environment's PUSHGATE settings."""

    def __init__(self, line, folder, name):
        self.out, self.err = f"{folder}/{name}.out", f"{folder}/{name}.err"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PUSHGATE")}
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.child = subprocess.Popen(
                ["bash", "-c", line], cwd="/", env=environment, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                start_new_session=True)

    def text(self):
        return pathlib.Path(self.out).read_text()

    def errors(self):
        return pathlib.Path(self.err).read_text()

    def code(self, seconds=60):
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            return "did not end"

    def stop(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            self.child.wait(20)


class Session:
    """Runs lines one after another and ends what still runs."""

    def __init__(self, folder):
        self.folder, self.shells = folder, []

    def run(self, line):
        print(f"$ {line}", flush=True)
        shell = Shell(line, self.folder, f"shell-{len(self.shells)}")
        self.shells.append(shell)
        return shell

    def ended(self, line):
        shell = self.run(line)
        return shell.code(), shell.text(), shell.errors()

    def stop(self):
        for shell in self.shells:
            shell.stop()


def banner_lines(dev):
    """{word: line} of what the banner tells to run from another terminal."""
    text = eventually(lambda: t if "\n  curl" in (t := pathlib.Path(dev.log).read_text()) else None, 10)
    if not text:
        raise server.Failed(f"no banner: {pathlib.Path(dev.log).read_text()}")
    verdict.fact(dev.url() in text, "the banner tells where clients connect", text)
    verdict.fact(dev.rest in text, "the banner tells where REST is", text)
    lines = [line for line in text.splitlines() if re.match(r"  (\S*pushgate'? |curl )", line)]
    found = {word: line for line in lines for word in ("listen", "send", "token", "curl") if re.search(rf"(^|\s){word} ", line)}
    verdict.fact(set(found) == {"listen", "send", "token", "curl"}, "the banner has four lines to run", lines)
    return found


def connected(listener):
    return eventually(lambda: "connected to" in listener.errors(), 30)


def banner_works(session, dev):
    line = banner_lines(dev)
    listener = session.run(line["listen"])
    verdict.fact(connected(listener), "listen connects", listener.errors())
    code, out, err = session.ended(line["send"])
    verdict.fact(code == 0 and re.fullmatch(r"[0-9a-f-]{36}\n", out), "send prints the id alone", (code, out, err))
    verdict.fact("stored" not in err, "send to a connected user does not speak of storing", err)
    arrived = eventually(lambda: "Hi: there" in listener.text(), 20)
    verdict.fact(arrived and out.strip() in listener.text(), "listen prints the push with its id", listener.text())
    code, out, err = session.ended(line["token"])
    parts = out.strip().split(".")
    verdict.fact(code == 0 and len(parts) == 3 and out.count("\n") == 1, "token prints the JWT alone", (code, out, err))
    code, out, err = session.ended(line["curl"])
    answer = json.loads(out) if out.startswith("{") else {}
    verdict.fact(code == 0 and set(answer) == {"id", "lane"}, "curl is answered id and lane", (code, out, err))
    arrived = eventually(lambda: "Hi: from curl" in listener.text(), 20)
    verdict.fact(arrived, "the push of curl is printed", listener.text())

    code, out, err = session.ended(f"{line['send']} --wait")
    verdict.fact(code == 0, "send --wait ends with 0 once the push is acknowledged", (code, out, err))
    listener.stop()
    return line


def stored_and_replayed(session, line):
    code, out, err = session.ended(line["send"].replace("there", "later"))
    verdict.fact(code == 0, "send to an absent user is accepted", (code, err))
    verdict.fact("alice is not connected: the push is stored" in err, "send says that the push is stored", err)
    waited, _, err = session.ended(f"{line['send']} --wait --timeout 1s")
    verdict.fact(waited == 1 and "not delivered: 1 stored" in err, "send --wait ends with 1 for a stored push", (waited, err))
    code, heard, err = session.ended(f"{line['listen']} --count 2 --timeout 30s")
    verdict.fact(code == 0, "listen --count ends with 0", (code, err))
    verdict.fact(heard.startswith("Hi: later") and out.strip() in heard, "listen prints what was stored, in order", heard)
    code, heard, err = session.ended(f"{line['listen']} --timeout 1s --count 1")
    verdict.fact(code == 1 and heard == "", "what was acknowledged does not come again", (code, heard, err))
    code, _, err = session.ended(line["send"].replace(" send ", " send --channel pigeon "))
    verdict.fact(code == 2 and "/channels/0" in err, "an unknown channel is refused, and the field named", (code, err))
    code, _, err = session.ended(line["send"].replace("--user", "--usr"))
    verdict.fact(code == 2 and "--user" in err, "bad usage ends with 2 and names the option", (code, err))


def page_and_secrets(session, dev, line):
    with urllib.request.urlopen(f"http://{dev.addresses['LISTEN']}/", timeout=10) as answer:
        kind, page = answer.headers["content-type"], answer.read().decode()
    verdict.fact(kind.startswith("text/html") and "WebSocket" in page, "GET / is a page that connects", (kind, page[:200]))
    verdict.fact(dev.rest in page, "the page knows where to send", page[:200])
    mode = stat.S_IMODE(os.stat(f"{dev.data}/runtime.json").st_mode)
    verdict.fact(mode == 0o600, "runtime.json is for its owner alone", oct(mode))
    secret = dev.show()["secret"]
    verdict.fact(secret not in pathlib.Path(dev.log).read_text(), "the secret is in no log and no banner")
    app = {"content-type": "application/json"}
    body = {"to": {"users": ["alice"]}, "content": {"title": "x"}}
    status, answer = server.http_json(dev.rest, "POST", "/v1/messages", body, app | server.basic("default", "wrong"))
    verdict.fact(status == 401 and secret not in str(answer), "a wrong secret is refused", (status, answer))
    _, token, _ = session.ended(line["token"])
    bearer = app | {"Authorization": f"Bearer {token.strip()}"}
    status, answer = server.http_json(dev.rest, "POST", "/v1/messages", body, bearer)
    verdict.fact(status == 403, "a client's token on REST is 403", (status, answer))
    status, _ = server.http_json(dev.addresses["LISTEN"], "GET", "/v1/ws", headers={
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    verdict.fact(status == 401, "no token: 401 before the upgrade", status)


def second_server(folder, dev):
    def start(name, data, addresses):
        """Runs another `dev` that must end by itself: (exit code, what it says)."""
        other = Dev(folder)
        other.process.log = f"{folder}/{name}.log"
        other.process.arguments = ["dev", "--data", data]
        other.process.environment.update(addresses)
        other.process.start()
        try:
            code = other.process.child.wait(30)
        except subprocess.TimeoutExpired:
            code = "did not end"
        other.process.stop()
        return code, pathlib.Path(other.process.log).read_text()

    code, text = start("same-data", dev.data, {})
    pid = str(dev.process.child.pid)
    verdict.fact(code == 1 and f"in use by pid {pid}" in text, "a second dev on the same data names the first one's pid", (code, text))
    for key, address in (("GATEWAY__LISTEN", dev.addresses["LISTEN"]), ("GATEWAY__ADMIN", dev.addresses["ADMIN"]),
                         ("GATEWAY__LINKS", dev.addresses["LINKS"]), ("DISPATCHER__LISTEN", dev.rest)):
        code, text = start(f"same-{key}", f"{folder}/other-data", {f"PUSHGATE__{key}": address})
        said = code == 1 and "error: " in text and address in text.split("error: ")[-1]
        verdict.fact(said, f"a taken {key} is named with its address", (code, text))
    status, _ = server.http_json(dev.rest, "GET", "/readyz")
    verdict.fact(status == 200, "the first dev goes on", status)
    verdict.fact(os.path.exists(f"{dev.data}/runtime.json"), "the first dev's runtime.json stays")


def stops_and_damage(folder, dev):
    code = dev.process.interrupt()
    verdict.fact(code == 0, "Ctrl-C ends dev with 0", (code, pathlib.Path(dev.log).read_text()[-500:]))
    verdict.fact(not os.path.exists(f"{dev.data}/runtime.json"), "no runtime.json is left behind")
    damage = {
        "apps.json": lambda data: pathlib.Path(f"{data}/apps.json").write_text("["),
        "a store's table": lambda data: overwrite(max(pathlib.Path(data).glob("store/keyspaces/*/tables/*"), key=lambda f: f.stat().st_size)),
        "the store's version": lambda data: overwrite(pathlib.Path(f"{data}/store/version")),
        "a keyspace's manifest": lambda data: overwrite(sorted(pathlib.Path(data).glob("store/keyspaces/*/current"))[0]),
    }
    for what, harm in damage.items():
        copy = f"{folder}/damaged"
        shutil.copytree(dev.data, copy)
        harm(copy)
        broken = Dev(folder)
        broken.process.log = f"{folder}/damaged.log"
        broken.process.arguments = ["dev", "--data", copy]
        pathlib.Path(broken.process.log).unlink(missing_ok=True)
        broken.process.start()
        try:
            code = broken.process.child.wait(30)
        except subprocess.TimeoutExpired:
            code = "did not end"
        broken.process.stop()
        text = pathlib.Path(broken.process.log).read_text()
        told = [line for line in text.splitlines() if line.startswith("error: ")]
        clear = code == 1 and told and copy in told[0] and "panicked" not in text
        verdict.fact(clear, f"damage to {what} is told with the path", (code, text))
        verdict.fact(not os.path.exists(f"{copy}/runtime.json"), f"damage to {what} leaves no runtime.json")
        shutil.rmtree(copy)
    dev.start()
    code = dev.process.interrupt()
    verdict.fact(code == 0, "the undamaged directory still serves", code)


def overwrite(path):
    path.write_bytes(b"\xff\x00damaged" * (path.stat().st_size // 9 + 1))


def main():
    # A blank and a quote: the banner's lines must survive the shell.
    with tempfile.TemporaryDirectory(prefix="pushgate it's ") as folder:
        dev, session = Dev(folder), Session(folder)
        try:
            dev.start()
            line = banner_works(session, dev)
            stored_and_replayed(session, line)
            page_and_secrets(session, dev, line)
            second_server(folder, dev)
            session.stop()
            stops_and_damage(folder, dev)
        finally:
            session.stop()
            dev.process.stop()


if __name__ == "__main__":
    verdict.run(main)
