#!/usr/bin/env python3
"""`pushgate loadgen` against a `pushgate dev`: its figures, its verdicts, its files, and what it says of itself.

  loadgen.py           the page of the report is looked at in a headless Chromium, as in browser.py
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time

import server
from browser import Browser
from dev import Dev
from verdict import Verdict, eventually

verdict = Verdict()

MIXED = """
name = "a short day"
connections = 60
devices_per_user = 2
# Longer than a client that churns is away: what is for everybody and was acknowledged by the other device of its user does not come again.
ack_delay = "500ms"

[[phases]]
name = "morning"
duration = "1s"
warm_up = true
connections = 20
connect_rate = 100

[[phases]]
name = "noon"
duration = "4s"
churn_per_s = 5
high = { rate = 20, to = "devices" }
low = { rate = 2, to = "all", ttl = "1m" }

# Nobody churns: a device that is away while the other one is online is promised nothing that is for their user.
[[phases]]
name = "evening"
duration = "4s"
normal = { rate = 100 }
"""


class Run:
    """One loadgen, with its report."""

    def __init__(self, dev, folder, name, *words, prefix=(), html=False, environment=None):
        self.files = {form: f"{folder}/{name}.{form}" for form in ("json", "html")}
        more = ["--report", self.files["json"], *(["--html", self.files["html"]] if html else []), "--data", dev.data]
        self.child = subprocess.Popen([*prefix, server.binary(), "loadgen", *words, *more], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})

    def end(self, timeout=120):
        self.out, self.err = self.child.communicate(timeout=timeout)
        self.code = self.child.returncode
        try:
            with open(self.files["json"], encoding="utf-8") as file:
                self.report = json.load(file)
        except (OSError, ValueError):
            self.report = None
        return self

    def told(self):
        return f"exit {self.code}\n{self.out[-1500:]}\n{self.err[-1500:]}"


def pushes(dev, folder):
    run = Run(dev, folder, "push", "push", "--connections", "200", "--rate", "400", "--duration", "5s", "--warm-up", "1s",
              "--slo", "lost=0", "--slo", "doubled=0", "--slo", "errors=0%", html=True).end()
    if not verdict.fact(run.code == 0 and run.report, "a run against dev needs no more than its data directory, and holds", run.told()):
        return
    report, lane = run.report, run.report["lanes"]["normal"]
    verdict.fact((lane["planned"], lane["accepted"], lane["received"]) == (2400, 2400, 2400), "every planned message is accepted and received", lane)
    verdict.fact(report["latency"]["samples"] == 2000, "latency counts what was planned after the warm-up alone", report["latency"]["samples"])
    verdict.fact(sum(count for _, count in report["latency"]["buckets"]) == 2000, "the buckets hold every sample")
    verdict.fact(0 < report["latency"]["p50_us"] <= report["latency"]["p99_us"] <= report["latency"]["max_us"], "quantiles are in order")
    seconds = report["seconds"]
    verdict.fact(seconds[-1]["server"] and seconds[-1]["server"][0]["resident_bytes"] > 1_000_000, "the server's process is found and watched",
                 seconds[-1]["server"])
    verdict.fact(sum(second["planned"] for second in seconds) == 2400, "the seconds add up to the whole")
    verdict.fact("objective    lost=0 holds" in run.out, "the summary names each objective", run.out)
    looked_at(folder, run.files["html"])


def addresses(dev, folder):
    """Mails and text messages: what the server's outbox took, as the server tells it."""
    for name in ("email", "sms"):
        run = Run(dev, folder, name, name, "--recipients", "20", "--rate", "50", "--duration", "3s", "--warm-up", "1s", "--slo", "lost=0", "--slo", "errors=0%").end()
        if not verdict.fact(run.code == 0 and run.report, f"{name} against dev needs no account", run.told()):
            continue
        lane = run.report["lanes"]["normal"]
        verdict.fact((lane["accepted"], lane["asked"], lane["received"]) == (200, 200, 200), f"each {name} is accepted, and taken as the server tells", lane)
        verdict.fact(lane["states"] == {"sent": 200} and lane["latency"]["samples"] == 150, f"{name}: its state, and its time if it was measured", lane)


def scheduled(dev, folder):
    run = Run(dev, folder, "schedule", "schedule", "--connections", "50", "--rate", "100", "--delay", "2s", "--duration", "3s", "--warm-up", "1s", "--slo", "lost=0").end()
    if verdict.fact(run.code == 0 and run.report, "scheduled messages all come", run.told()):
        lane = run.report["lanes"]["normal"]
        verdict.fact((lane["accepted"], lane["received"], lane["expired"]) == (500, 500, 0), "each once", lane)
        verdict.fact(lane["latency"]["buckets"][0][0] < 2_000_000, "their time counts from when each is due, not from when it was planned", lane["latency"]["p50_us"])


def looked_at(folder, path):
    """The page in a browser."""
    page = Browser(folder)
    try:
        page.call("Page.enable")
        page.call("Runtime.enable")
        page.call("Network.enable")
        page.call("Page.navigate", url=f"file://{path}")
        verdict.fact(eventually(lambda: page.run("document.readyState === 'complete' && !!document.querySelector('svg')"), 30), "the page loads")
        drawn = page.run("[...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width > 300"
                         " && s.querySelector('polyline').getBBox().width > 100).length")
        verdict.fact(drawn >= 6, "its charts are drawn", drawn)
        from_elsewhere = page.run("performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length")
        verdict.fact(from_elsewhere == 0, "it loads nothing from elsewhere", from_elsewhere)
        verdict.fact(page.run("document.querySelectorAll('script:not([type])').length") == 0, "it has no script")
        inside = page.run("JSON.parse(document.getElementById('report').textContent).lost")
        verdict.fact(inside == 0, "the report lies in it as JSON", inside)
        height = page.run("document.documentElement.scrollHeight")
        page.call("Emulation.setDeviceMetricsOverride", width=1000, height=min(height, 6000), deviceScaleFactor=1, mobile=False)
        page.picture("loadgen")
    finally:
        page.stop()


def stall(dev, folder):
    """A closed loop would have sent nothing while the server stood still, and have seen one slow message."""
    run = Run(dev, folder, "stall", "push", "--connections", "50", "--rate", "400", "--duration", "5s", "--warm-up", "1s")
    # In the middle of what is measured: the report tells where it was.
    time.sleep(4)
    pid = dev.process.child.pid
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    time.sleep(0.5)
    os.kill(pid, signal.SIGCONT)
    stood = (time.monotonic() - stopped) * 1e6
    run.end()
    if not verdict.fact(run.code == 0 and run.report, "the run ends", run.told()):
        return
    latency = run.report["latency"]
    slow = sum(count for bound, count in latency["buckets"] if bound >= stood / 2)
    verdict.fact(latency["p999_us"] >= stood * 0.9, "a server that stands still for 500 ms shows in p99.9", (latency["p999_us"], stood))
    verdict.fact(slow >= 400 * stood / 1e6 / 2 * 0.9, "half of what was planned meanwhile waited for half of it or more", (slow, stood))
    verdict.fact(run.report["lost"] == 0, "and nothing was lost")


def starved(dev, folder):
    """The generator on one processor with others that want it whole; the server on another, if there is one."""
    processors = sorted(os.sched_getaffinity(0))
    ours = str(processors[0])
    os.sched_setaffinity(dev.process.child.pid, set(processors[1:]) or set(processors))
    burn = "import time\nuntil = time.monotonic() + 14\nwhile time.monotonic() < until: pass"
    burners = [subprocess.Popen(["taskset", "-c", ours, "python3", "-c", burn]) for _ in range(3)]
    try:
        run = Run(dev, folder, "starved", "push", "--connections", "50", "--rate", "500", "--duration", "5s", "--warm-up", "1s",
                  prefix=["taskset", "-c", ours, "nice", "-n", "10"]).end()
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
        for thread in os.listdir(f"/proc/{dev.process.child.pid}/task"):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(thread), set(processors))
    if verdict.fact(run.report, "a starved run ends with its report", run.told()):
        taints = [taint["what"] for taint in run.report["taints"]]
        verdict.fact("processor time" in taints, "the report of a starved generator names it", (taints, run.report["generator"]))
        verdict.fact("the generator was the bottleneck" in run.out.split("connections")[0], "and the summary begins with it", run.out)


def interrupted(dev, folder):
    run = Run(dev, folder, "interrupted", "push", "--connections", "20", "--rate", "50", "--duration", "10m", "--warm-up", "0s")
    seen = []
    threading.Thread(target=lambda: seen.extend(iter(run.child.stderr.readline, "")), daemon=True).start()
    verdict.fact(eventually(lambda: sum("planned" in line for line in seen) >= 2, 60), "each second is a line where there is no terminal", seen)
    run.child.send_signal(signal.SIGINT)
    out = run.child.stdout.read()
    code = run.child.wait(60)
    with open(run.files["json"], encoding="utf-8") as file:
        report = json.load(file)
    verdict.fact(code == 0 and report["interrupted"] and report["lanes"]["normal"]["received"] > 0,
                 "Ctrl-C ends a run with the report of what there was", (code, out))
    verdict.fact(report["lost"] == 0, "and with what was under way", report["lost"])


def crowds(dev, folder):
    churn = Run(dev, folder, "churn", "connect", "--connections", "100", "--duration", "3s", "--churn", "40").end()
    if verdict.fact(churn.code == 0 and churn.report, "clients come and go", churn.told()):
        connections = churn.report["connections"]
        verdict.fact(connections["greeted"] >= 180 and connections["failed"] == 0, "those that leave come back, and nothing fails", connections)
    storm = Run(dev, folder, "storm", "connect", "--connections", "300", "--duration", "4s", "--storm").end()
    if verdict.fact(storm.code == 0 and storm.report, "a storm is run", storm.told()):
        connections = storm.report["connections"]
        verdict.fact(connections["greeted"] == 600 and connections["open"] == 300, "all come back after it", connections)
    mixed = f"{folder}/mixed.toml"
    with open(mixed, "w", encoding="utf-8") as file:
        file.write(MIXED)
    day = Run(dev, folder, "mixed", "mixed", mixed, "--slo", "lost=0").end()
    if verdict.fact(day.code == 0 and day.report, "a file's scenario is run, and nothing is lost", day.told()):
        lanes = day.report["lanes"]
        verdict.fact(sorted(lanes) == ["high", "low", "normal"] and lanes["high"]["received"] == 80, "each lane has its account",
                     {name: (lane["accepted"], lane["received"]) for name, lane in lanes.items()})
        verdict.fact(lanes["normal"]["received"] == 800, "a push to a user reaches both its devices", lanes["normal"])
        verdict.fact(lanes["low"]["received"] == 8 * 60, "a message to everybody reaches all", lanes["low"])
    fanout = Run(dev, folder, "fanout", "fanout", "--connections", "200", "--rate", "5", "--duration", "2s", "--warm-up", "0s", "--slo", "lost=0").end()
    verdict.fact(fanout.code == 0 and fanout.report["lanes"]["normal"]["received"] == 2000, "a fanout reaches everybody", fanout.told())


def compared(dev, folder):
    run = Run(dev, folder, "one", "push", "--connections", "50", "--rate", "300", "--duration", "17s", "--warm-up", "1s").end()
    if not verdict.fact(run.code == 0 and run.report, "a run of some length", run.told()):
        return
    slower = f"{folder}/slower.json"
    for second in run.report["seconds"]:
        for server_use in second["server"]:
            server_use["cpu_ns"] = int(server_use["cpu_ns"] * 10)
    with open(slower, "w", encoding="utf-8") as file:
        json.dump(run.report, file)

    def compare(*words):
        return subprocess.run([server.binary(), "loadgen", "compare", *words], capture_output=True, text=True, timeout=60, check=False)

    same = compare(run.files["json"], run.files["json"], "--json")
    told = json.loads(same.stdout)["compared"] if same.returncode == 0 else []
    verdict.fact({c["measure"] for c in told} == {"cost_of_a_push", "latency"} and all(c["verdict"] == "alike" for c in told),
                 "a run is like itself", (same.returncode, same.stdout, same.stderr))
    more = compare(run.files["json"], slower)
    verdict.fact(more.returncode == 1 and "cost of a push" in more.stderr and "SLOWER" in more.stdout, "ten times as much is slower, however busy the machine",
                 (more.returncode, more.stdout, more.stderr))
    none = compare(run.files["json"], run.files["json"].replace("one.json", "mixed.json"))
    verdict.fact(none.returncode == 2 and "different scenarios" in none.stderr, "other scenarios are not compared", none.stderr)


def capacity(dev, _folder):
    words = [server.binary(), "loadgen", "capacity", "--data", dev.data, "--connections", "20", "--rate", "100", "--most", "200", "--step", "2s"]
    held = subprocess.run([*words, "--slo", "lost=0", "--json"], capture_output=True, text=True, timeout=120, check=False)
    found = json.loads(held.stdout)["found"] if held.returncode == 0 else None
    verdict.fact(found == {"held": 200, "failed": None}, "a load that holds up to the bound is told with it", (held.returncode, held.stdout, held.stderr))
    words[words.index("100")] = "2"
    none = subprocess.run([*words, "--slo", "p50=1us"], capture_output=True, text=True, timeout=120, check=False)
    verdict.fact(none.returncode == 1 and "no load holds" in none.stderr and "does not hold: p50=1us" in none.stdout,
                 "what no load holds is told with the reason", (none.returncode, none.stdout, none.stderr))


def wrong(dev, folder):
    unmet = Run(dev, folder, "unmet", "push", "--connections", "5", "--rate", "20", "--duration", "1s", "--warm-up", "0s", "--slo", "p99=1us").end()
    verdict.fact(unmet.code == 1 and "not met: p99=1us" in unmet.err, "an objective that does not hold ends with 1 and is named", unmet.told())
    few = Run(dev, folder, "few", "push", "--connections", "5", "--rate", "20", "--duration", "1s", "--warm-up", "0s", "--slo", "p99.9=10s").end()
    verdict.fact(few.code == 1 and "it takes 1000" in few.err, "a percentile of too few samples is not taken for measured", few.told())

    def refused(what, words, *texts):
        done = subprocess.run([server.binary(), "loadgen", *words], capture_output=True, text=True, timeout=60, check=False)
        verdict.fact(done.returncode == 2 and all(text in done.stderr for text in texts), what, (done.returncode, done.stderr))

    data = ["--data", dev.data]
    refused("an objective that is none is explained", ["push", "--slo", "p98=1ms", *data], "p98=1ms", "p99=10ms")
    refused("a rate of 0 is refused with its bounds", ["push", "--rate", "0", *data], "rate is 0, must be 1 to")
    refused("a report that cannot be written is refused before the run", ["push", "--report", "/nowhere/r.json", *data], "/nowhere/r.json")
    refused("a file that is not there is named", ["mixed", "/nowhere/day.toml", *data], "/nowhere/day.toml")
    refused("a URL of another scheme is refused", ["connect", "--url", "http://127.0.0.1:1", *data], "ws://HOST:PORT")
    nobody = subprocess.run([server.binary(), "loadgen", "connect", "--connections", "3", "--url", f"ws://127.0.0.1:{server.free_port()}", *data],
                            capture_output=True, text=True, timeout=60, check=False)
    verdict.fact(nobody.returncode == 1 and "no client could connect" in nobody.stderr and "Connection refused" in nobody.stderr,
                 "a server that is not there is told at once, with its reason", (nobody.returncode, nobody.stderr))


def main():
    with tempfile.TemporaryDirectory(prefix="pushgate-loadgen-") as folder, contextlib.ExitStack() as stack:
        dev = Dev(folder)
        stack.callback(lambda: server.keep_logs(folder, "loadgen"))
        stack.callback(dev.process.stop)
        dev.start()
        for part in (pushes, scheduled, addresses, stall, starved, interrupted, crowds, compared, capacity, wrong):
            print(f"- {part.__name__}", flush=True)
            part(dev, folder)


if __name__ == "__main__":
    verdict.run(main)
