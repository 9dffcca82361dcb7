#!/usr/bin/env python3
"""Several `pushgate loadgen` that make one run against a `pushgate dev`: one report of all, whoever of them dies, and nobody without the key."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading

import server
from dev import Dev
from verdict import Verdict, eventually

verdict = Verdict()

# Messages of each process to its own users, and to everybody by the leader; one measured phase of two.
MIXED = """
name = "together"
connections = 31
devices_per_user = 2

[[phases]]
name = "warm"
duration = "1s"
warm_up = true
connections = 14
normal = { rate = 50 }

[[phases]]
name = "measure"
duration = "3s"
normal = { rate = 100 }
low = { rate = 2, to = "all" }
"""
# What a loadgen may take until it waits, or is there.
SECONDS = 60


class Process:
    """One loadgen whose stderr is read as it comes."""

    def __init__(self, *words, key=None):
        environment = {name: value for name, value in os.environ.items() if name != "PUSHGATE_JOIN_KEY"}
        self.child = subprocess.Popen([server.binary(), "loadgen", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                      env={**environment, **({"PUSHGATE_JOIN_KEY": key} if key else {})})
        self.err, self.out = [], []
        self.readers = [threading.Thread(target=read, daemon=True) for read in (
            lambda: self.err.extend(iter(self.child.stderr.readline, "")), lambda: self.out.append(self.child.stdout.read()))]
        for reader in self.readers:
            reader.start()

    def says(self, text, times=1):
        return eventually(lambda: sum(text in line for line in self.err) >= times or self.child.poll() is not None, SECONDS) \
            and sum(text in line for line in self.err) >= times

    def end(self, timeout=120):
        try:
            self.code = self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.code = f"none within {timeout} s"
        for reader in self.readers:
            reader.join(10)
        return self

    def told(self):
        return f"exit {getattr(self, 'code', 'none')}\n{''.join(self.out)[-2500:]}\n{''.join(self.err)[-2500:]}"


class Together:
    """A leader and its joiners."""

    def __init__(self, dev, folder, name, *words, processes=3, key=None):
        self.file = f"{folder}/{name}.json"
        self.html = f"{folder}/{name}.html"
        self.address = f"127.0.0.1:{server.free_port()}"
        self.leader = Process(*words, "--data", dev.data, "--processes", str(processes), "--join-listen", self.address,
                              "--report", self.file, "--html", self.html, key=key)
        self.joiners = []
        verdict.fact(self.leader.says("waiting"), f"{name}: the leader waits", self.leader.told())

    def join(self, count=2, key=None):
        self.joiners += [Process("--join", self.address, key=key) for _ in range(count)]
        return self

    def end(self):
        for process in (self.leader, *self.joiners):
            process.end()
        try:
            with open(self.file, encoding="utf-8") as file:
                self.report = json.load(file)
        except (OSError, ValueError):
            self.report = None
        return self

    def told(self):
        return "\n".join(process.told() for process in (self.leader, *self.joiners))


def counts(report):
    return [(p["connections"], p["planned"], p["accepted"], p["received"], p["lost"]) for p in report["processes"]]


def summed(dev, folder):
    run = Together(dev, folder, "push", "push", "--connections", "100", "--rate", "200", "--duration", "4s", "--warm-up", "1s",
                   "--slo", "lost=0", "--slo", "errors=0%").join().end()
    codes = [process.code for process in (run.leader, *run.joiners)]
    if not verdict.fact(codes == [0, 0, 0] and run.report, "three processes make one run, and need no key on one machine", run.told()):
        return
    report, lane = run.report, run.report["lanes"]["normal"]
    verdict.fact((lane["planned"], lane["accepted"], lane["received"], report["lost"]) == (1000, 1000, 1000, 0), "the sum is right, and nothing is lost", lane)
    verdict.fact(counts(report) == [(34, 334, 334, 334, 0), (33, 334, 334, 334, 0), (33, 332, 332, 332, 0)], "each sends to its own clients, in turn", counts(report))
    samples = [p["latency"]["samples"] for p in report["processes"]]
    buckets = sum(count for _, count in report["latency"]["buckets"])
    verdict.fact(sum(samples) == report["latency"]["samples"] == buckets == 800, "every sample of each is in the percentiles", (samples, buckets))
    slowest = max(p["latency"]["max_us"] for p in report["processes"])
    verdict.fact(report["latency"]["max_us"] == slowest, "the largest is the largest of any", (report["latency"]["max_us"], slowest))
    seconds = report["seconds"]
    verdict.fact(sum(second["planned"] for second in seconds) == 1000 and sum(second["latency"]["samples"] for second in seconds) == 800,
                 "the seconds are of all, and add up", [(s["at_s"], s["planned"]) for s in seconds])
    verdict.fact(max(second["open"] for second in seconds) == seconds[-1]["open"] == 100, "and so are the connections", [s["open"] for s in seconds])
    clocks = [p.get("clock") for p in report["processes"]]
    verdict.fact(clocks[0] is None and all(clock["bound_us"] > 0 for clock in clocks[1:]), "how well clocks are known is told", clocks)
    verdict.fact(not any(taint["what"] == "a process" for taint in report["taints"]), "nobody is missing", report["taints"])
    verdict.fact(all(f"process {n}" in "".join(run.leader.out) for n in (1, 2, 3)), "each has its line", run.leader.told())
    with open(run.html, encoding="utf-8") as page:
        verdict.fact("<h2>Processes</h2>" in page.read(), "and its row on the page")


def everybody(dev, folder):
    mixed = f"{folder}/together.toml"
    with open(mixed, "w", encoding="utf-8") as file:
        file.write(MIXED)
    run = Together(dev, folder, "mixed", "mixed", mixed, "--slo", "lost=0").join().end()
    if not verdict.fact(run.leader.code == 0 and run.report, "phases begin together, and nothing is lost", run.told()):
        return
    lanes = run.report["lanes"]
    verdict.fact((lanes["low"]["accepted"], lanes["low"]["received"]) == (6, 6 * 31), "what the leader sends to everybody is judged by all", lanes["low"])
    verdict.fact((lanes["normal"]["planned"], lanes["normal"]["foreign"], lanes["low"]["foreign"]) == (350, 0, 0), "and what each sends to its own", lanes["normal"])
    verdict.fact([phase["open"] for phase in run.report["phases"]] == [14, 31], "phases count the clients of all", run.report["phases"])


def killed(dev, folder):
    run = Together(dev, folder, "killed", "push", "--connections", "60", "--rate", "120", "--duration", "8s", "--warm-up", "0s", "--slo", "lost=0").join()
    victim = run.joiners[0]
    verdict.fact(victim.says("planned", times=3), "a joiner tells its own seconds", victim.told())
    victim.child.send_signal(signal.SIGKILL)
    run.end()
    if not verdict.fact(run.report, "a joiner that is killed ends nobody else", run.told()):
        return
    report = run.report
    gone = [p for p in report["processes"] if p.get("gone")]
    verdict.fact(len(gone) == 1 and gone[0]["pid"] == victim.child.pid and "connection ended" in gone[0]["gone"], "it is named", report["processes"])
    first = report["taints"][0] if report["taints"] else {}
    verdict.fact(first.get("what") == "a process" and f"pid {victim.child.pid}" in first.get("process", ""), "it taints the report, first of all", report["taints"])
    verdict.fact(gone[0]["received"] > 0 and sum(p["latency"]["samples"] for p in report["processes"]) == report["latency"]["samples"],
                 "what it told until then is in the figures", counts(report))
    whole = [p for p in report["processes"] if not p.get("gone")]
    verdict.fact([(p["planned"], p["received"], p["lost"]) for p in whole] == [(320, 320, 0)] * 2, "the others go on to the end", counts(report))
    other = run.joiners[1].code
    verdict.fact(run.leader.code == 1 and "did not come to its end" in "".join(run.leader.err) and other == 0, "and the leader ends with 1", run.told())


def left(dev, folder):
    run = Together(dev, folder, "left", "push", "--connections", "60", "--rate", "120", "--duration", "7s", "--warm-up", "0s", "--slo", "lost=0").join()
    verdict.fact(run.joiners[0].says("planned", times=3), "a joiner is at work", run.joiners[0].told())
    run.joiners[0].child.send_signal(signal.SIGINT)
    run.end()
    codes = [process.code for process in (run.leader, *run.joiners)]
    if verdict.fact(codes == [1, 0, 0] and run.report, "Ctrl-C at a joiner ends its part alone", run.told()):
        gone = [p["gone"] for p in run.report["processes"] if p.get("gone")]
        verdict.fact(gone == ["it was ended there before its time"] and run.report["lost"] == 0 and not run.report["interrupted"],
                     "which is told, with all that it received", run.report["processes"])


def addresses(dev, folder):
    run = Together(dev, folder, "sms", "sms", "--recipients", "20", "--rate", "50", "--duration", "3s", "--warm-up", "1s", "--slo", "lost=0", processes=2).join(1).end()
    if verdict.fact(run.leader.code == 0 and run.report, "text messages are dealt out, too", run.told()):
        lane = run.report["lanes"]["normal"]
        verdict.fact((lane["accepted"], lane["asked"], lane["received"], lane["latency"]["samples"]) == (200, 200, 200, 150), "each process asks for its own", lane)
        verdict.fact([p["received"] for p in run.report["processes"]] == [100, 100], "half of them each", counts(run.report))


def orphaned(dev, folder):
    run = Together(dev, folder, "orphaned", "push", "--connections", "30", "--rate", "30", "--duration", "10m", "--warm-up", "0s").join()
    verdict.fact(run.leader.says("planned", times=2), "the leader tells the seconds of all", run.leader.told())
    run.leader.child.send_signal(signal.SIGKILL)
    for joiner in run.joiners:
        joiner.end(60)
        verdict.fact(joiner.code == 1 and "leader of the run is gone" in "".join(joiner.err), "a joiner whose leader is killed ends, and says why", joiner.told())
    run.leader.end()


def interrupted(dev, folder):
    run = Together(dev, folder, "interrupted", "push", "--connections", "30", "--rate", "60", "--duration", "10m", "--warm-up", "0s").join()
    verdict.fact(run.leader.says("planned", times=3), "a run of ten minutes is under way", run.leader.told())
    run.leader.child.send_signal(signal.SIGINT)
    run.end()
    codes = [process.code for process in (run.leader, *run.joiners)]
    if verdict.fact(codes == [0, 0, 0] and run.report, "Ctrl-C at the leader ends all, with one report", run.told()):
        lane = run.report["lanes"]["normal"]
        verdict.fact(run.report["interrupted"] and run.report["lost"] == 0 and lane["accepted"] == lane["received"] > 0, "of what there was, and of what was under way", lane)


def keys(dev, folder):
    key = "a key that all of them share"
    run = Together(dev, folder, "keys", "push", "--connections", "9", "--rate", "30", "--duration", "1s", "--warm-up", "0s", processes=2, key=key)
    wrong = Process("--join", run.address, key=key.replace("all", "few")).end()
    verdict.fact(wrong.code == 1 and "the shared key is another" in "".join(wrong.err), "another key is refused", wrong.told())
    none = Process("--join", run.address).end()
    verdict.fact(none.code == 2 and "cannot read the key" in "".join(none.err), "so is none", none.told())
    with socket.create_connection(run.address.rsplit(":", 1), timeout=10) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        said = b""
        # It ends with a reset: what was sent is not read.
        with contextlib.suppress(ConnectionResetError):
            while more := stranger.recv(4096):
                said += more
    verdict.fact(len(said) == 40 and key.encode() not in said, "who speaks otherwise hears a fresh key, and no more", said)
    verdict.fact(run.leader.says("was not let in", times=2), "the leader tells who was not let in, and waits on", run.leader.told())
    run.join(1, key=key).end()
    verdict.fact(run.leader.code == 0 and run.report and len(run.report["processes"]) == 2, "who has the key takes part", run.told())


def wrong(dev, _folder):
    def refused(what, code, text, *words):
        done = Process(*words).end()
        verdict.fact(done.code == code and text in "".join(done.err), what, done.told())

    lead = ("push", "--data", dev.data, "--processes", "3", "--join-listen")
    here = f"127.0.0.1:{server.free_port()}"
    refused("an address of another kind takes a key and a server that all reach", 2, "their own machine", *lead, "0.0.0.0:7460")
    refused("and a key", 2, "takes a shared key", *lead, "0.0.0.0:7460", "--url", "ws://192.0.2.1:7400", "--rest", "http://192.0.2.1:7410")
    refused("too few clients for so many are told", 2, "connections is 2, must be at least 3", *lead, here, "--connections", "2")
    refused("Kafka is for one process", 2, "--via kafka is for one process", *lead, here, "--via", "kafka")
    refused("so many processes are none", 2, "processes is 0, must be 1 to 250", "push", "--data", dev.data, "--processes", "0")
    refused("a leader waits for a bounded time", 1, "1 of 3 processes came in 1s", *lead, here, "--join-wait", "1s")
    refused("a run that nobody leads cannot be joined", 2, "no run of this user waits", "--join", here)


def main():
    with tempfile.TemporaryDirectory(prefix="pushgate-joined-") as folder, contextlib.ExitStack() as stack:
        # Where leaders leave their keys; one that is killed leaves it for good.
        os.environ["XDG_RUNTIME_DIR"] = folder
        dev = Dev(folder)
        stack.callback(lambda: server.keep_logs(folder, "loadgen_joined"))
        stack.callback(dev.process.stop)
        dev.start()
        for part in (summed, everybody, killed, left, addresses, orphaned, interrupted, keys, wrong):
            print(f"- {part.__name__}", flush=True)
            part(dev, folder)


if __name__ == "__main__":
    verdict.run(main)
