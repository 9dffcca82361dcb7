"""`pushgate dev` on ports of its own, for the end-to-end tests."""

import json
import subprocess
import time

import server


class Dev:
    """One `pushgate dev` process with its data directory."""

    def __init__(self, folder, environment=None):
        self.data = f"{folder}/data"
        self.log = f"{folder}/dev.log"
        self.addresses = {n: f"127.0.0.1:{server.free_port()}" for n in ("LISTEN", "LINKS", "ADMIN")}
        self.rest = f"127.0.0.1:{server.free_port()}"
        overrides = {f"PUSHGATE__GATEWAY__{n}": a for n, a in self.addresses.items()}
        overrides["PUSHGATE__DISPATCHER__LISTEN"] = self.rest
        self.process = server.Process("dev", ["dev", "--data", self.data], {**overrides, **(environment or {})}, self.log)
        self._key = None

    def start(self):
        self.process.start()
        server.wait_ready(self.rest)
        self.wait_announced()
        return self

    def wait_announced(self, seconds=30):
        """Waits until `runtime.json` names the process: it is ready a moment before, and commands find it by that. One that was killed
        leaves its own behind."""
        until = time.monotonic() + seconds
        while self.announced() != self.process.child.pid:
            if time.monotonic() > until:
                raise server.Failed(f"{self.data}/runtime.json does not name the running process after {seconds} s")
            time.sleep(0.01)

    def announced(self):
        try:
            with open(f"{self.data}/runtime.json", encoding="utf-8") as file:
                return json.load(file)["pid"]
        except FileNotFoundError:
            return None

    def url(self):
        return f"ws://{self.addresses['LISTEN']}"

    def show(self):
        out = subprocess.run([server.binary(), "app", "show", "--data", self.data], check=True, capture_output=True)
        return json.loads(out.stdout)

    def headers(self):
        app = self.show()
        return server.basic(app["app"], app["secret"])

    def token(self, user, device):
        """A client token, made here from the key that `runtime.json` holds."""
        if self._key is None:
            with open(f"{self.data}/runtime.json", encoding="utf-8") as file:
                app = json.load(file)["apps"][0]
            self._key = (app["keys"][0]["key"].encode(), app["id"])
        return server.mint(*self._key, user, device)
