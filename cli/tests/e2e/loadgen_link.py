#!/usr/bin/env python3
"""`pushgate loadgen --via link`: a gateway alone, without dispatcher, Kafka or Redis, takes pushes over links of the load generator. Every push arrives; what the
gateway hands back is told as refused with its reason and not as lost; whoever names no gateway, has another key or finds a dispatcher there is told so."""

import json
import subprocess
import tempfile

import server
from authority import Authority
from verdict import Verdict, eventually

verdict = Verdict()
CONFIG = """
[gateway]
listen = "127.0.0.1:{clients}"
links = "127.0.0.1:{links}"
admin = "127.0.0.1:{admin}"
shards = 2
[links]
key = "{key}"
{tls}
[[apps]]
id = "shop"
secrets = [{{ id = "s1", secret = "the secret of the test app" }}]
keys = [{{ kind = "jwt", alg = "HS256", key = "0123456789abcdef0123456789abcdef", kid = "k1" }}]
"""
# All lose their connections at once while they are sent to: so many that they are back only after hundreds of pushes.
STORM = """
name = "storm"
connections = 2000
[[phases]]
name = "storm"
duration = "2s"
storm = true
normal = { rate = 2000 }
"""


def loadgen(*words, timeout=120):
    return subprocess.run([server.binary(), "loadgen", *words], capture_output=True, text=True, timeout=timeout, check=False)


def told(done):
    return f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def arrives(name, config, report, lane, *words, each=1):
    """A run in which every push comes to `each` clients."""
    done = loadgen(*words, "--config", config, "--via", "link", "--duration", "3s", "--warm-up", "1s", "--report", report, "--slo", "lost=0", "--slo", "errors=0%")
    found = read(report)
    verdict.fact(done.returncode == 0 and found is not None, f"{name}: the run ends well", told(done))
    sent = (found or {"lanes": {}})["lanes"].get(lane, {"planned": 0, "accepted": 0, "received": None})
    verdict.fact(0 < sent["planned"] == sent["accepted"] and sent["received"] == sent["accepted"] * each, f"{name}: each push arrives {each} times", str(sent))
    verdict.fact(found is not None and found["wrong"] == 0, f"{name}: nothing is doubled, lost or out of order", told(done))


def refused(name, done, text):
    verdict.fact(done.returncode != 0 and text in done.stderr, f"{name}: {text}", told(done))


def main():
    with tempfile.TemporaryDirectory(prefix="pushgate-") as folder:
        ports = {name: server.free_port() for name in ("clients", "links", "admin")}
        config, other, report = f"{folder}/g.toml", f"{folder}/other.toml", f"{folder}/report.json"
        for path, key in ((config, "a key for this test run alone"), (other, "a key that the gateway does not have")):
            with open(path, "w", encoding="utf-8") as file:
                file.write(CONFIG.format(key=key, tls="", **ports))
        gateway = server.Process("gateway", ["gateway", "--config", config], {}, f"{folder}/gateway.log").start()
        try:
            # It is ready once a dispatcher is linked: here, never before the load.
            verdict.fact(eventually(lambda: is_up(ports["admin"])), "the gateway is up")
            arrives("users", config, report, "normal", "push", "--connections", "60", "--devices", "3", "--rate", "300", each=3)
            arrives("devices, high lane", config, report, "high", "push", "--to", "devices", "--connections", "60", "--devices", "3", "--rate", "300", "--lane", "high")
            arrives("everybody", config, report, "normal", "fanout", "--connections", "50", "--rate", "20", each=50)
            arrives("everybody, unacknowledged", config, report, "low", "fanout", "--connections", "50", "--rate", "20", "--no-ack", "--lane", "low", each=50)
            handed_back(config, folder)
            refused("other key", loadgen("push", "--config", other, "--via", "link", "--links", f"127.0.0.1:{ports['links']}"), "the gateway")
            refused("no configuration", loadgen("push", "--via", "link", "--data", folder), "--via link needs --config")
            refused("schedules", loadgen("schedule", "--config", config, "--via", "link"), "the dispatcher's")
            refused("several processes", loadgen("push", "--config", config, "--via", "link", "--processes", "2"), "for one process")
            refused("REST", loadgen("push", "--config", config, "--links", "127.0.0.1:1"), "--links is for --via link")
            beside_another(config, folder)
            under_tls(folder)
        finally:
            gateway.stop()
            server.keep_logs(folder, "loadgen_link")


def is_up(port):
    try:
        return server.http_json(f"127.0.0.1:{port}", "GET", "/healthz", timeout=2)[0] == 200
    except OSError:
        return False


def handed_back(config, folder):
    """Clients that are away: nothing keeps their pushes, and that is no loss."""
    scenario, report = f"{folder}/storm.toml", f"{folder}/storm.json"
    with open(scenario, "w", encoding="utf-8") as file:
        file.write(STORM)
    done = loadgen("mixed", scenario, "--config", config, "--via", "link", "--report", report)
    lane = (read(report) or {"lanes": {}})["lanes"].get("normal")
    back = sum(times for why, times in lane["reasons"].items() if why.startswith("handed back")) if lane else 0
    verdict.fact(done.returncode == 0 and lane and 0 < back == lane["refused"] and lane["planned"] == lane["accepted"] + lane["refused"],
                 "storm: what the gateway hands back is refused with its reason", told(done))


def under_tls(folder):
    """A gateway whose links have mutual TLS: who has a certificate gets in, and each end says what it misses in the other."""
    authority = Authority(folder)
    files = "\n".join(f'{key} = "{authority.path(name)}"' for key, name in (("cert_file", "cert.pem"), ("cert_key_file", "key.pem"), ("ca_file", "ca.pem")))
    ports, paths = {name: server.free_port() for name in ("clients", "links", "admin")}, {}
    for name, tls in (("with", files), ("without", "")):
        paths[name] = f"{folder}/{name}-tls.toml"
        with open(paths[name], "w", encoding="utf-8") as file:
            file.write(CONFIG.format(key="a key for this test run alone", tls=tls, **ports))
    run = ("push", "--connections", "30", "--rate", "300")
    for served, other, text in (("without", "with", "it answers without TLS"), ("with", "without", "takes links with TLS alone")):
        gateway = server.Process("gateway", ["gateway", "--config", paths[served]], {}, f"{folder}/{served}-tls.log").start()
        try:
            verdict.fact(eventually(lambda: is_up(ports["admin"])), f"the gateway {served} TLS is up")
            refused(f"{other} TLS to a gateway {served}", loadgen(*run, "--config", paths[other], "--via", "link"), text)
            arrives(f"{served} TLS", paths[served], f"{folder}/{served}-tls.json", "normal", *run)
        finally:
            gateway.stop()


def beside_another(config, folder):
    """While one run's links are up there is no place for another's."""
    first = subprocess.Popen([server.binary(), "loadgen", "push", "--config", config, "--via", "link", "--connections", "10", "--rate", "10", "--duration", "1m"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for line in first.stderr:
            if "planned" in line:
                break
        refused("beside another", loadgen("push", "--config", config, "--via", "link"), "has links already")
    finally:
        first.kill()
        first.communicate()


if __name__ == "__main__":
    verdict.run(main)
