"""`pushgate loadgen` beside a test: numbered and verified messages through Kafka, until it is told to end, and the judgement of its report."""

import json
import signal
import subprocess
import time

import server

# A tenth of the messages live so long, in a lane of their own: what is told of them is whether one came later.
TTL_S = 5
# The gateway looks at the end when it writes; what is read so much later was still written before.
SPARE_MS = 500
DRAIN_S = 10
# And for so many clients a second more.
DRAIN_CLIENTS_PER_S = 1000
SCENARIO = """
name = "{name}"
connections = {clients}
ping_every = "20s"
drain = "{drain}s"
late = "{late}ms"
[[phases]]
name = "gathering"
duration = "3s"
warm_up = true
connect_rate = {connect_rate}
normal = {{ rate = {rate}, ttl = "1h" }}
[[phases]]
name = "load"
duration = "2h"
normal = {{ rate = {rate}, ttl = "1h" }}
low = {{ rate = {brief}, ttl = "{ttl}s" }}
"""
CONNECTS_PER_S = 2000


class Load:
    def __init__(self, cluster, clients, rate):
        self.clients, self.report_file = clients, f"{cluster.folder}/report.json"
        scenario, self.log = f"{cluster.folder}/load.toml", f"{cluster.folder}/loadgen.log"
        brief, self.drain_s = max(1, rate // 10), DRAIN_S + clients // DRAIN_CLIENTS_PER_S
        with open(scenario, "w", encoding="utf-8") as file:
            file.write(SCENARIO.format(
                name=cluster.name, clients=clients, rate=rate - brief, brief=brief, ttl=TTL_S, drain=self.drain_s, late=1000 * TTL_S + SPARE_MS, connect_rate=CONNECTS_PER_S))
        words = ["mixed", scenario, "--config", next(iter(cluster.nodes.values())).config, "--url", f"ws://{cluster.front}", "--via", "kafka",
                 "--report", self.report_file]
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen([server.binary(), "loadgen", *words], stdout=log, stderr=log)

    def wait_connected(self, cluster, seconds):
        """Until as many sessions are there as it has clients."""
        until = time.monotonic() + seconds
        while (have := sum(node.metric("pushgate_sessions") for node in cluster.gateways())) < self.clients:
            if self.child.poll() is not None:
                raise server.Failed(f"the load ended with {self.child.returncode}; see loadgen.log")
            if time.monotonic() > until:
                raise server.Failed(f"{have:.0f} of {self.clients} clients are connected after {seconds} s")
            time.sleep(0.2)

    def end(self):
        """Ends the sending, waits for what is under way; the report."""
        if self.child.poll() is not None:
            raise server.Failed(f"the load ended by itself, with {self.child.returncode}; see loadgen.log")
        self.child.send_signal(signal.SIGINT)
        self.child.wait(self.drain_s + 60)
        with open(self.report_file, encoding="utf-8") as file:
            return json.load(file)

    def stop(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def judged(report, calm, ordered=True):
    """Prints the figures of a report; the complaints. `calm`: nothing failed, so nobody may have connected again. Unless `ordered`, order is told alone."""
    normal, brief, connections = report["lanes"]["normal"], report["lanes"]["low"], report["connections"]
    lost = normal["accepted"] - normal["received"]
    again, disordered = (normal[what] + brief[what] for what in ("doubled", "out_of_order_in_session"))
    print(f"load: {normal['accepted']} accepted, {lost} lost; with {TTL_S} s to live {brief['accepted']} accepted, {brief['received']} received; "
          f"{connections['greeted']} greeted for {connections['open']} open", flush=True)
    print(f"      {again} came again, {disordered} out of order within their session, received p50 {report['latency']['p50_us'] / 1000:.1f} ms, "
          f"p99 {report['latency']['p99_us'] / 1000:.1f} ms, at most {report['latency']['max_us'] / 1000:.0f} ms", flush=True)
    for taint in report["taints"]:
        print(f"      tainted: {taint['what']}: {taint['seen']}", flush=True)
    complaints = []
    for what, count in (("messages were lost", lost), (f"messages came {SPARE_MS} ms after their end", brief["late"])):
        if count:
            complaints.append(f"{count} {what}")
    for lane in (normal, brief):
        for what in ("refused", "unanswered", "unsent", "stale", "crossed", "foreign"):
            if lane[what]:
                complaints.append(f"{lane[what]} messages {what.replace('_', ' ')}: {lane['reasons']}")
    if not normal["accepted"]:
        complaints.append("nothing was accepted")
    if ordered and disordered:
        complaints.append(f"{disordered} messages out of order within their session")
    if calm and (connections["started"], connections["failed"]) != (connections["greeted"], 0):
        complaints.append(f"clients connected again: {connections}")
    return complaints
