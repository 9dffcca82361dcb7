"""Records of benchmarks that are scripts: what was found, with the commit and the machine it was found on."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def answer(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()


def write(name, what, found):
    """Writes bench/results/NAME.json."""
    changes = answer("git", "status", "--porcelain", "--untracked-files=no", ":!bench/results")
    about = {
        "what": what, "command": f"scripts/bench {name}", "arguments": sys.argv[1:],
        "commit": answer("git", "rev-parse", "HEAD"), "uncommitted_changes": bool(changes), "kernel": answer("uname", "-sr"), "cpus": os.cpu_count(),
    }
    path = ROOT / f"bench/results/{name}.json"
    path.write_text(json.dumps({**about, **found}, indent=1) + "\n", encoding="utf-8")
    print(f"written {path.relative_to(ROOT)}")
