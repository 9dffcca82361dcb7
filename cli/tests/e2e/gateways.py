"""Three gateways and two dispatchers as processes, on real Kafka and Redis, whose member list is in Redis, behind one address.

Everything between them can be broken: clients come through the path `front`, links to gateway gN through `links-gN` (dispatchers' and other
gateways'), node N reaches Redis through `redis-N`. Kafka tells its clients its own address, so no relay stands before it.
"""

import os
import re
import shutil
import subprocess

import server
import services
from nodes import KEY, SECRET
from relay import Relay

# The relay carries so many clients without a share in what they are told; beyond it the kernel stands in front, which takes next to nothing.
RELAYED_CLIENTS_MAX = 2000
# The least that a broker takes by default (group.min.session.timeout.ms): so long a killed dispatcher keeps its partitions.
SESSION_MS = 6000
CONFIG = """
[gateway]
node = "{node}"
listen = "127.0.0.1:{ws}"
links = "127.0.0.1:{links}"
advertise_links = "{advertise_links}"
{advertise}
admin = "127.0.0.1:{admin}"
shards = {shards}
[gateway.limits]
drain_grace_ms = 500
drain_rate_per_s = {drain_rate}
shutdown_timeout_ms = 60000
[dispatcher]
node = "{node}"
listen = "127.0.0.1:{rest}"
source = "kafka"
data = "{data}"
ack_deadline_ms = 3000
[store]
kind = "redis"
member_lease_ms = {lease}
[kafka]
brokers = "{kafka}"
group = "{name}"
prefix = "{name}"
[kafka.options]
"session.timeout.ms" = {session}
[redis]
url = "redis://{redis}"
[links]
key = "a key for this test run alone"
[[apps]]
id = "{name}"
secrets = [{{ id = "s1", secret = "{secret}", scopes = ["send", "admin"] }}]
keys = [{{ kind = "jwt", alg = "HS256", key = "{key}", kid = "k1" }}]
"""
ROUND_ROBIN = """
table ip {name} {{
  chain output {{
    type nat hook output priority -100;
    ip daddr 127.0.0.1 tcp dport {port} dnat to 127.0.0.1 : numgen inc mod {count} map {{ {targets} }}
  }}
}}
"""


class Node:
    """One process."""

    def __init__(self, cluster, half, node, ports, text):
        self.half, self.node, self.ports = half, node, ports
        self.config, self.log = f"{cluster.folder}/{node}.toml", f"{cluster.folder}/{node}.log"
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)
        self.process = server.Process(node, [half, "--config", self.config], {}, self.log)
        self.admin = f"127.0.0.1:{ports['admin' if half == 'gateway' else 'rest']}"

    def metric(self, name):
        """The sum of a metric over its labels; 0 if it is not there or nobody answers."""
        try:
            _, text = server.http_json(self.admin, "GET", "/metrics", timeout=5)
        except OSError:
            return 0.0
        return sum(map(float, re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text.decode(), re.M)))

    def cpu_s(self):
        """Processor time that it has used, seconds."""
        with open(f"/proc/{self.process.child.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Cluster:
    """The set. `clients` are expected in front of it; with `advertise` they are told where their owner is."""

    def __init__(self, folder, name, clients, gateways=3, lease_ms=3000, shards=2, drain_rate=500, advertise=False):
        # Those that one process starts in turn share the services.
        self.folder, self.name, self.lease_s = folder, f"{name}-{os.getpid()}-{os.path.basename(folder)[-6:]}", lease_ms / 1000
        self.shards, self.drain_rate, self.advertise = shards, drain_rate, advertise
        addresses = services.services("up", "kafka", "redis")
        self.kafka, self.redis = addresses["PUSHGATE_TEST_KAFKA"], addresses["PUSHGATE_TEST_REDIS"].split("//")[1]
        services.create_topics(self.kafka, self.name, partitions=12)
        self.relay, self.table, self.nodes = Relay(), None, {}
        for half, node in [("gateway", f"g{n + 1}") for n in range(gateways)] + [("dispatcher", "d1"), ("dispatcher", "d2")]:
            self.add(half, node)
        targets = [f"127.0.0.1:{node.ports['ws']}" for node in self.gateways()]
        self.front = self.relay.path("front", *targets) if clients <= RELAYED_CLIENTS_MAX else self.balanced(targets)
        # Those whose clients are few enough to be held up by the relay.
        self.probed = self.relay.path("probes", *targets)

    def add(self, half, node):
        """One more node, to be started; behind the addresses in front are those alone that are there when they are made."""
        ports = {port: server.free_port() for port in ("ws", "links", "admin", "rest")}
        self.nodes[node] = Node(self, half, node, ports, CONFIG.format(
            node=node, name=self.name, data=f"{self.folder}/{node}-data", lease=int(1000 * self.lease_s), session=SESSION_MS, shards=self.shards, secret=SECRET,
            key=KEY, kafka=self.kafka, redis=self.relay.path(f"redis-{node}", self.redis), drain_rate=self.drain_rate,
            advertise=f'advertise = "ws://127.0.0.1:{ports["ws"]}/v1/ws"' if self.advertise else "",
            advertise_links=self.relay.path(f"links-{node}", f"127.0.0.1:{ports['links']}"), **ports))
        return self.nodes[node]

    def balanced(self, targets):
        """An address whose connections the kernel gives to the targets in turn, without a look whether they are there; root alone may say so."""
        program = shutil.which("nft", path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            raise server.Failed(f"more than {RELAYED_CLIENTS_MAX} clients take nftables in front: apt-get install nftables")
        port, ports = server.free_port(), [target.rsplit(":", 1)[1] for target in targets]
        self.nft, self.table = program, f"pushgate_{os.getpid()}"
        rules = ROUND_ROBIN.format(name=self.table, port=port, count=len(ports), targets=", ".join(f"{n} : {to}" for n, to in enumerate(ports)))
        done = subprocess.run([program, "-f", "-"], input=rules, capture_output=True, text=True, check=False)
        if done.returncode:
            self.table = None
            raise server.Failed(f"nft does not take the rules of the round robin (it takes root): {done.stderr}")
        return f"127.0.0.1:{port}"

    def gateways(self):
        return [node for node in self.nodes.values() if node.half == "gateway"]

    def dispatchers(self):
        return [node for node in self.nodes.values() if node.half == "dispatcher"]

    def start(self):
        for node in self.nodes.values():
            node.process.start()
        for node in self.nodes.values():
            server.wait_ready(node.admin)

    def stop(self):
        for node in self.nodes.values():
            node.process.stop()
        if self.table:
            subprocess.run([self.nft, "delete", "table", "ip", self.table], check=True)
        self.relay.stop()

    def token(self, user, device):
        return server.mint(KEY.encode(), self.name, user, device, 7200)

    def owner(self, user):
        """The node that owns a user, by what a dispatcher that lives says; None if none does."""
        headers = {"Authorization": f"Bearer {self.token(user, 'd')}"}
        for node in self.dispatchers():
            try:
                status, answer = server.http_json(node.admin, "GET", "/v1/locate", None, headers, 5)
            except OSError:
                continue
            if status == 200:
                return answer["node"]
        return None
