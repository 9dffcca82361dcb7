"""`pushgate dev` on ports of its own, for the end-to-end tests."""

import json
import subprocess

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
        self.check_announced()
        return self

    def check_announced(self):
        """Commands find the process by `runtime.json`, which is there before it says that it is ready."""
        with open(f"{self.data}/runtime.json", encoding="utf-8") as file:
            named = json.load(file)["pid"]
        if named != self.process.child.pid:
            raise server.Failed(f"ready, but {self.data}/runtime.json names {named}, not {self.process.child.pid}")

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
