"""What a test found: each fact is printed as it is checked, and one that does not hold fails the run."""

import sys
import time

import server


class Verdict:
    def __init__(self):
        self.failed = []
        self.began = time.monotonic()

    def fact(self, holds, what, detail=""):
        """`what` holds or not; `detail` is printed if not. Returns `holds`."""
        stamp = f"{time.monotonic() - self.began:6.1f} s"
        if holds:
            print(f"{stamp}  ok      {what}", flush=True)
        else:
            print(f"{stamp}  FAILED  {what}: {detail}", flush=True)
            self.failed.append(what)
        return bool(holds)

    def run(self, test):
        """Runs `test()`; ends the process with 0 if every fact held."""
        server.end_on_sigterm()
        try:
            test()
        except server.Failed as error:
            self.fact(False, "the test comes to its end", error)
        for what in self.failed:
            print(f"FAILED: {what}")
        print("failed" if self.failed else "passed")
        sys.exit(1 if self.failed else 0)


def eventually(question, seconds=30):
    """Asks until the answer is true, at most `seconds`; the last answer."""
    until = time.monotonic() + seconds
    while True:
        answer = question()
        if answer or time.monotonic() >= until:
            return answer
        time.sleep(0.05)
