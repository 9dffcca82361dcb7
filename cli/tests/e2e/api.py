#!/usr/bin/env python3
"""REST against its own description: cases made of `GET /openapi.json`, good and bad ones, sent by an authenticated caller.

  api.py [--examples 600] [--cases 5000] [--seed 1]

Without arguments about 10,000 cases, in four minutes on two cores with a development build; `scripts/test` runs a short form.
`--examples` bounds the cases of one operation in one phase; `--cases` is how many must have been sent in all. Every operation
must have been answered with 2xx, nothing with 5xx, nothing with a status, header or body that the description does not have.
The process is ready, so 503 would be a finding; with a store down `cluster.py` and the tests of the crate look at it.
"""

import argparse
import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import server
from dev import Dev
from verdict import Verdict

HERE = pathlib.Path(__file__).parent
verdict = Verdict()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=600)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def explore(dev, folder, args):
    """Runs the tool; how it ended, its words, and statuses by operation."""
    app = dev.show()
    counts = f"{folder}/answers.json"
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "api.toml"), "--no-color", "run",
        f"http://{dev.rest}/openapi.json", "--auth", f"{app['app']}:{app['secret']}", "--seed", str(args.seed),
        "--max-examples", str(args.examples), "--generation-database", "none",
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "api_hooks", "PYTHONPATH": str(HERE), "ANSWERS": counts}
    ran = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=1800)
    with open(counts, encoding="utf-8") as file:
        return ran.returncode, ran.stdout + ran.stderr, json.load(file)


def schedule_examples(dev):
    """The tasks that the description names as examples: tasks exist only once something is scheduled."""
    app = dev.show()
    secret = base64.b64encode(f"{app['app']}:{app['secret']}".encode()).decode()
    headers = {"Authorization": f"Basic {secret}"}
    _, document = server.http_json(dev.rest, "GET", "/openapi.json")
    for path, methods in document["paths"].items():
        if not path.startswith("/v1/tasks/"):
            continue
        for operation in methods.values():
            task = next(p["example"] for p in operation["parameters"] if p["name"] == "id")
            message = {"id": task, "to": {"users": ["alice"]}, "content": {"title": task}, "schedule": {"every": "1h"}}
            status, answer = server.http_json(dev.rest, "POST", "/v1/messages", message, headers)
            verdict.fact(status == 202, f"the example task {task} is accepted", answer)


def operations(dev):
    """All but the description itself, which the tool reads and does not test."""
    _, document = server.http_json(dev.rest, "GET", "/openapi.json")
    paths = document["paths"].items()
    return [f"{method.upper()} {path}" for path, methods in paths for method in methods if path != "/openapi.json"]


def test():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        dev = Dev(folder)
        try:
            dev.start()
            schedule_examples(dev)
            code, words, answers = explore(dev, folder, args)
            for operation in operations(dev):
                statuses = answers.get(operation, {})
                good = sum(count for status, count in statuses.items() if status.startswith("2"))
                verdict.fact(good > 0, f"{operation} was answered with 2xx ({good} of {sum(statuses.values())})", statuses)
            failed = {o: s for o, s in answers.items() if any(status.startswith("5") for status in s)}
            verdict.fact(not failed, "nothing was answered with 5xx", failed)
            cases = sum(sum(s.values()) for s in answers.values())
            verdict.fact(cases >= args.cases, f"{cases} cases were sent", f"at least {args.cases} are wanted")
            verdict.fact(code == 0, "every answer is one that is described", f"exit code {code}\n{words[-8000:]}")
            verdict.fact(dev.process.child.poll() is None, "the process still runs")
        finally:
            dev.process.stop()
            server.keep_logs(folder, "api")


verdict.run(test)
