#!/usr/bin/env python3
"""The page of `pushgate dev` in a real headless Chromium: it connects with its token as a subprotocol, shows pushes, acknowledges, sends,
and survives a `kill -9` and restart of the server. Screenshots lie in target/e2e-logs/browser-*.png afterwards.

  browser.py           Chromium is looked for as `chromium`, `chromium-browser` or `google-chrome`, or named by PUSHGATE_CHROMIUM
"""

import base64
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.request

import server
from dev import Dev
from verdict import Verdict, eventually

verdict = Verdict()
NAMES = ("chromium", "chromium-browser", "google-chrome")


def browser_path():
    path = os.environ.get("PUSHGATE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise server.Failed(f"no Chromium found (looked for {', '.join(NAMES)}); install the package `chromium` or set PUSHGATE_CHROMIUM")
    return path


class Browser:
    """A headless Chromium with one page, driven by its debugging protocol."""

    def __init__(self, folder):
        from websockets.sync.client import connect

        profile = pathlib.Path(folder) / "profile"
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
                 "--no-first-run", "--disable-background-networking", f"--user-data-dir={profile}", "--window-size=1100,900", "about:blank"]
        with open(f"{folder}/chromium.log", "wb") as log:
            self.child = subprocess.Popen([browser_path(), *words], stdout=log, stderr=log)
        self.numbers = itertools.count(1)
        port_file = profile / "DevToolsActivePort"
        if not eventually(lambda: port_file.exists() and port_file.read_text().count("\n") >= 1, 60):
            self.stop()
            raise server.Failed(f"Chromium did not start: {pathlib.Path(folder, 'chromium.log').read_text()[-2000:]}")
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self.socket = connect(page["webSocketDebuggerUrl"], max_size=None, open_timeout=30)

    def call(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv(timeout=60))
            if answer.get("id") == number:
                if "error" in answer:
                    raise server.Failed(f"{method}: {answer['error']}")
                return answer["result"]

    def run(self, script):
        """The value of a script in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise server.Failed(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def picture(self, name):
        target = server.ROOT / "target/e2e-logs"
        target.mkdir(parents=True, exist_ok=True)
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        (target / f"browser-{name}.png").write_bytes(png)

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def text(page, ident):
    return page.run(f"document.getElementById({json.dumps(ident)}).textContent")


def fill(page, ident, value):
    page.run(f"document.getElementById({json.dumps(ident)}).value = {json.dumps(value)}")


def click(page, ident):
    page.run(f"document.getElementById({json.dumps(ident)}).click()")


def pushes(page):
    """Texts of the pushes shown, the newest first."""
    return page.run("[...document.querySelectorAll('#pushes li')].map(li => li.querySelector('b').textContent)")


def send(dev, title):
    message = {"to": {"users": ["alice"]}, "content": {"title": title, "body": f"body of {title}"}}
    status, answer = server.http_json(dev.rest, "POST", "/v1/messages", message, dev.headers())
    verdict.fact(status == 202, f"{title}: REST takes the push", (status, answer))
    return answer["id"]


def delivered(dev, ident):
    def asked():
        status, answer = server.http_json(dev.rest, "GET", f"/v1/messages/{ident}", headers=dev.headers())
        return status == 200 and answer["summary"].get("delivered") == 1
    return eventually(asked, 30)


def shown(page, title, seconds=30):
    return eventually(lambda: pushes(page).count(title) == 1, seconds)


def visit(dev, page):
    page.call("Page.enable")
    page.call("Page.navigate", url=f"http://{dev.addresses['LISTEN']}/")
    verdict.fact(eventually(lambda: page.run("document.readyState === 'complete' && !!document.getElementById('connect')"), 30),
                 "the page is served and loads")
    fill(page, "token", dev.token("alice", "browser"))
    click(page, "connect")
    verdict.fact(eventually(lambda: text(page, "state") == "connected as alice", 30), "the page connects with its token as a subprotocol",
                 text(page, "state"))
    protocol = page.run("socket.protocol")
    verdict.fact(protocol == "pushgate.v1", "the server chose pushgate.v1", protocol)


def survives(dev, page):
    first = send(dev, "One")
    verdict.fact(shown(page, "One"), "a push is shown", pushes(page))
    verdict.fact(delivered(dev, first), "the page acknowledged it: the state is delivered")
    page.picture("connected")
    dev.process.kill()
    verdict.fact(eventually(lambda: text(page, "state") != "connected as alice", 30), "the page sees that the server died", text(page, "state"))
    page.picture("reconnecting")
    dev.start()
    second = send(dev, "Two")
    verdict.fact(eventually(lambda: text(page, "state") == "connected as alice", 60), "the page reconnects by itself", text(page, "state"))
    verdict.fact(shown(page, "Two") and delivered(dev, second), "a push after the restart is shown and acknowledged", pushes(page))
    verdict.fact(pushes(page).count("One") == 1, "what was acknowledged is not shown again", pushes(page))


def sends(dev, page):
    app = dev.show()
    for ident, value in {"secret": f"{app['app']}:{app['secret']}", "user": "alice", "title": "Three", "body": "from the page"}.items():
        fill(page, ident, value)
    click(page, "send")
    verdict.fact(shown(page, "Three"), "the page sends to itself over REST", (text(page, "sent"), pushes(page)))
    verdict.fact(text(page, "sent").startswith("accepted as "), "the page tells the id", text(page, "sent"))
    fill(page, "secret", f"{app['app']}:wrong")
    click(page, "send")
    verdict.fact(eventually(lambda: text(page, "sent").startswith("401: "), 30), "a wrong secret is told with its status", text(page, "sent"))
    page.picture("sent")


def refused(page):
    click(page, "close")
    verdict.fact(eventually(lambda: text(page, "state") == "not connected", 30), "Disconnect ends the session", text(page, "state"))
    fill(page, "token", "not.a.token")
    click(page, "connect")
    verdict.fact(eventually(lambda: text(page, "said").startswith("closed with 1006"), 30), "a bad token is told and not retried",
                 text(page, "said"))
    verdict.fact(text(page, "state") == "not connected", "the page is not connected then", text(page, "state"))


def main():
    with tempfile.TemporaryDirectory(prefix="pushgate-browser-") as folder, contextlib.ExitStack() as stack:
        dev = Dev(folder)
        stack.callback(lambda: server.keep_logs(folder, "browser"))
        stack.callback(dev.process.stop)
        dev.start()
        page = Browser(folder)
        stack.callback(page.stop)
        visit(dev, page)
        survives(dev, page)
        sends(dev, page)
        refused(page)


if __name__ == "__main__":
    verdict.run(main)
