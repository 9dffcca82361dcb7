"""Loaded by the tool that `api.py` runs: counts answers by operation and status."""

import atexit
import collections
import json
import os
import threading

import schemathesis

answers = collections.defaultdict(collections.Counter)
lock = threading.Lock()


@schemathesis.hook
def after_call(context, case, response):
    with lock:
        # Cases with a method that the operation does not have are of none.
        if case.method.upper() == case.operation.method.upper():
            answers[f"{case.operation.method.upper()} {case.operation.path}"][str(response.status_code)] += 1


@atexit.register
def write():
    with open(os.environ["ANSWERS"], "w", encoding="utf-8") as file:
        json.dump(answers, file)
