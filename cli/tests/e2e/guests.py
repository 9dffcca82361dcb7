#!/usr/bin/env python3
"""Guests: two gateways and a dispatcher as processes of their own, and clients that all connect to the first gateway and ignore
`moved`. Half of the users are the second one's: they get every push once, and each ends as `delivered`. Then the owner is
killed with kill -9 under load, and after it the host: nothing is lost. `GET /v1/locate` names the owner.

With --tls all links have mutual TLS.

  guests.py [--users N] [--tls]
"""

import argparse
import asyncio
import json
import os
import tempfile
import urllib.request

import server
from authority import Authority
from client import Client
from verdict import Verdict

KEY = "0123456789abcdef0123456789abcdef"
SECRET = "the secret of the test app"
APP = "shop"
CONFIG = """
[gateway]
node = "{node}"
listen = "127.0.0.1:{ws}"
links = "127.0.0.1:{links}"
admin = "127.0.0.1:{admin}"
shards = 2
{gateway}
[dispatcher]
node = "d1"
listen = "127.0.0.1:{rest}"
source = "embedded"
data = "{data}"
default_app = "{app}"
[links]
key = "a key for this test run alone"
{tls}
[[members]]
node = "g1"
links = "127.0.0.1:{links1}"
url = "{url1}"
[[members]]
node = "g2"
links = "127.0.0.1:{links2}"
url = "{url2}"
[[apps]]
id = "{app}"
secrets = [{{ id = "s1", secret = "{secret}", scopes = ["send", "admin"] }}]
keys = [{{ kind = "jwt", alg = "HS256", key = "{key}", kid = "k1" }}]
"""
verdict = Verdict()


def metric(admin, name):
    """The sum of a metric's series."""
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] in (name, f"{name}_total"))


class Cluster:
    """The three processes. `url` is where clients reach a gateway, `gateway` more of its section."""

    def __init__(self, folder, url="ws://127.0.0.1:{ws}/v1/ws", gateway="", tls=""):
        ports = {name: server.free_port() for name in (
            "ws1", "links1", "admin1", "ws2", "links2", "admin2", "rest")}
        self.processes, self.folder = {}, folder
        urls = {f"url{n}": url.format(ws=ports[f"ws{n}"], node=f"g{n}") for n in (1, 2)}
        for n in (1, 2):
            path = f"{folder}/g{n}.toml"
            with open(path, "w", encoding="utf-8") as file:
                file.write(CONFIG.format(
                    node=f"g{n}", ws=ports[f"ws{n}"], links=ports[f"links{n}"], admin=ports[f"admin{n}"], data=f"{folder}/data",
                    app=APP, secret=SECRET, key=KEY, gateway=gateway, tls=tls, **urls, **ports))
            self.processes[f"g{n}"] = server.Process(f"g{n}", ["gateway", "--config", path], {}, f"{folder}/g{n}.log")
        arguments = ["dispatcher", "--config", f"{folder}/g1.toml"]
        self.processes["d1"] = server.Process("d1", arguments, {}, f"{folder}/d1.log")
        self.ws = {f"g{n}": f"127.0.0.1:{ports[f'ws{n}']}" for n in (1, 2)}
        self.admin = {f"g{n}": f"127.0.0.1:{ports[f'admin{n}']}" for n in (1, 2)}
        self.rest = f"127.0.0.1:{ports['rest']}"

    def start(self):
        for process in self.processes.values():
            process.start()
        for address in (*self.admin.values(), self.rest):
            server.wait_ready(address)

    def stop(self):
        for process in self.processes.values():
            process.stop()

    def send(self, ident, user):
        body = {"id": ident, "to": {"users": [user]}, "content": {"title": "t", "body": f"body of {ident}"}}
        status, answer = server.http_json(self.rest, "POST", "/v1/messages", body, server.basic(APP, SECRET))
        if status != 202:
            raise server.Failed(f"{ident}: {status} {answer}")

    def states(self, ident):
        status, answer = server.http_json(self.rest, "GET", f"/v1/messages/{ident}", None, server.basic(APP, SECRET))
        return [r["state"] for r in answer["recipients"]] if status == 200 else [status]

    def locate(self, address, user):
        headers = {"Authorization": f"Bearer {server.mint(KEY.encode(), APP, user, 'd')}"}
        return server.http_json(address, "GET", "/v1/locate", None, headers)


async def until(question, seconds=60):
    for _ in range(int(seconds / 0.1)):
        answer = await asyncio.to_thread(question)
        if answer:
            return answer
        await asyncio.sleep(0.1)
    return await asyncio.to_thread(question)


class Sent:
    """What was sent to whom."""

    def __init__(self, cluster, clients):
        self.cluster, self.clients, self.ids = cluster, clients, {client.user: [] for client in clients}

    async def round(self, name, each):
        for n in range(each):
            for client in self.clients:
                ident = f"{name}-{n}-{client.user}"
                await asyncio.to_thread(self.cluster.send, ident, client.user)
                self.ids[client.user].append(ident)

    def missing(self):
        return {c.user: sorted(set(self.ids[c.user]) - set(c.ids())) for c in self.clients if set(self.ids[c.user]) - set(c.ids())}

    def doubled(self):
        return {c.user: len(c.ids()) - len(set(c.ids())) for c in self.clients if len(c.ids()) != len(set(c.ids()))}

    def undelivered(self):
        ids = [ident for ids in self.ids.values() for ident in ids]
        return {i: s for i, s in ((i, self.cluster.states(i)) for i in ids) if s != ["delivered"]}


async def run(cluster, users):
    clients = [
        Client(f"user-{n}", "d", lambda: f"ws://{cluster.ws['g1']}", lambda u, d: server.mint(KEY.encode(), APP, u, d)).start()
        for n in range(users)
    ]
    sent = Sent(cluster, clients)
    try:
        await asyncio.gather(*(asyncio.wait_for(client.online.wait(), 30) for client in clients))
        guests = await located(cluster, users, "g2")
        told = lambda: [metric(cluster.admin[node], name) for node, name in (("g1", "pushgate_guests"), ("g2", "pushgate_guests_away"))]
        registered = await until(lambda: told() == [guests, guests])
        verdict.fact(0 < guests < users and registered, f"{guests} of {users} users are guests, and registered", told())

        await sent.round("calm", 10)
        verdict.fact(await until(lambda: not sent.missing()), "every push arrives", sent.missing())
        undelivered = await until(lambda: not sent.undelivered())
        verdict.fact(undelivered, "and ends as delivered", sent.undelivered())
        verdict.fact(not sent.doubled(), "none is shown twice while nothing fails", sent.doubled())
        forwarded, size = (metric(cluster.admin["g2"], f"pushgate_pushes_forwarded{s}") for s in ("", "_bytes"))
        verdict.fact(forwarded == 10 * guests, f"{forwarded:.0f} were forwarded, {size / max(forwarded, 1):.0f} bytes each")
        verdict.fact(all(len(c.hellos) == 1 for c in clients), "nobody had to connect again")

        for name, what in (("g2", "owner"), ("g1", "host")):
            flow = asyncio.create_task(sent.round(f"{what}-dies", 20))
            await asyncio.sleep(1)
            cluster.processes[name].kill()
            await asyncio.sleep(1)
            cluster.processes[name].start()
            await flow
            arrived = await until(lambda: not sent.missing(), 90)
            verdict.fact(arrived, f"kill -9 of the {what}: nothing is lost", json.dumps(sent.missing())[:2000])
            undelivered = await until(lambda: not sent.undelivered())
            verdict.fact(undelivered, f"kill -9 of the {what}: all ends as delivered", json.dumps(sent.undelivered())[:2000])
            print(f"          shown twice: {sum(sent.doubled().values())} of {sum(map(len, sent.ids.values()))}")
    finally:
        await asyncio.gather(*(client.stop() for client in clients))


async def located(cluster, users, node):
    """Judges where the users are said to be; how many of them `node` owns."""
    found = [await asyncio.to_thread(cluster.locate, cluster.ws["g1"], f"user-{n}") for n in range(users)]
    nodes = [answer["node"] for status, answer in found if status == 200]
    verdict.fact(len(nodes) == users, "the gateway locates every user", found[:3])
    verdict.fact(all(a["url"] == f"ws://{cluster.ws[a['node']]}/v1/ws" for _, a in found), "and says where", found[:3])
    asked = [await asyncio.to_thread(cluster.locate, cluster.rest, f"user-{n}") for n in range(users)]
    verdict.fact([a for _, a in asked] == [a for _, a in found], "the dispatcher says the same", asked[:3])
    return nodes.count(node)


def links_tls(folder):
    """What [links] says for TLS: the nodes of this host have one certificate."""
    authority = Authority(folder)
    return "\n".join(f'{key} = "{authority.path(name)}"' for key, name in (
        ("cert_file", "cert.pem"), ("cert_key_file", "key.pem"), ("ca_file", "ca.pem")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=24)
    parser.add_argument("--tls", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pushgate-guests-") as folder:
        cluster = Cluster(folder, tls=links_tls(folder) if arguments.tls else "")
        try:
            cluster.start()
            asyncio.run(run(cluster, arguments.users))
        finally:
            cluster.stop()
            server.keep_logs(folder, f"guests-{os.getpid()}")


if __name__ == "__main__":
    verdict.run(main)
