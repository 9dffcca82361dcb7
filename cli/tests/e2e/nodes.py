"""One gateway and one dispatcher as processes of their own, on real Kafka and Redis."""

import json
import os
import urllib.error
import urllib.request

import server
import services

CONFIG = """
[gateway]
node = "g1"
listen = "127.0.0.1:{ws}"
links = "127.0.0.1:{links}"
admin = "127.0.0.1:{admin}"
[dispatcher]
node = "d1"
listen = "127.0.0.1:{rest}"
source = "kafka"
data = "{data}"
default_app = "{app}"
[store]
kind = "redis"
[kafka]
brokers = "{kafka}"
group = "{prefix}"
prefix = "{prefix}"
[redis]
url = "{redis}"
[links]
key = "a key for this test run alone"
[[members]]
node = "g1"
links = "127.0.0.1:{links}"
[[apps]]
id = "{app}"
secrets = [{{ id = "s1", secret = "the secret of the test app", scopes = ["send", "admin"] }}]
keys = [{{ kind = "jwt", alg = "HS256", key = "{key}", kid = "k1" }}]
"""
KEY = "0123456789abcdef0123456789abcdef"
SECRET = "the secret of the test app"


class Nodes:
    """The two processes, their configuration and logs. `addresses` are those of `scripts/services`; `more` is put behind the
    configuration, whose last section is that of the app; `environment` is that of both processes, `kafka` what a client needs to make topics."""

    def __init__(self, folder, name, addresses, topic_config=None, more="", environment=None, kafka=None):
        self.kafka = addresses["PUSHGATE_TEST_KAFKA"]
        self.app, self.prefix = f"{name}-{os.getpid()}", f"{name}-{os.getpid()}"
        ports = {port: server.free_port() for port in ("ws", "links", "admin", "rest")}
        self.config, self.data = f"{folder}/{name}.toml", f"{folder}/{name}-data"
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(
                kafka=self.kafka, redis=addresses["PUSHGATE_TEST_REDIS"], prefix=self.prefix, app=self.app, key=KEY, data=self.data, **ports))
            file.write(more)
        self.ws, self.rest, self.admin = (f"127.0.0.1:{ports[port]}" for port in ("ws", "rest", "admin"))
        self.logs = {half: f"{folder}/{name}-{half}.log" for half in ("gateway", "dispatcher")}
        self.processes = {
            half: server.Process(half, [half, "--config", self.config], environment or {}, log) for half, log in self.logs.items()
        }
        services.create_topics(self.kafka, self.prefix, config=topic_config, client=kafka)

    def start(self):
        for process in self.processes.values():
            process.start()
        server.wait_ready(self.rest)
        server.wait_ready(self.admin)

    def stop(self):
        for process in self.processes.values():
            process.stop()

    def url(self):
        return f"ws://{self.ws}"

    def token(self, user, device):
        return server.mint(KEY.encode(), self.app, user, device)

    def log(self, name):
        with open(self.logs[name], encoding="utf-8", errors="replace") as file:
            return file.read()

    def readiness(self):
        """(status, body) of the dispatcher's /readyz; (0, why) if nothing answers."""
        try:
            with urllib.request.urlopen(f"http://{self.rest}/readyz", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError as error:
            return 0, str(error)
