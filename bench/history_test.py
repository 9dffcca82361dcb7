#!/usr/bin/env python3
"""What bench/history.py makes of a history: points, bytes, and what it says of a shallow clone. And the summary of bench/canonical.py."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest
import xml.dom.minidom

import canonical
import history

COMMITTER = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(root, *arguments):
    environment = {**os.environ, **COMMITTER, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "-C", root, *arguments], check=True, capture_output=True, env=environment)


def commit(root, path, content):
    file = pathlib.Path(root, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", path)


def e2e(measured, delivered, held=True):
    return {"commit": measured, "rate_held": held, "delivery_ms": {"p50": delivered}, "accepted_ms": {"p50": 2.0}}


def kept(compiler, **counts):
    return {"counted_with": compiler, "instructions": {name.replace("_", "/", 1): n for name, n in counts.items()}}


class History(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = f"{folder.name}/whole"
        pathlib.Path(self.root).mkdir()
        git(self.root, "init", "-q")
        record = "bench/results/e2e-cluster-1000.json"
        commit(self.root, record, e2e("a", 3.0))
        commit(self.root, record, {**e2e("a", 3.0), "note": "written anew"})
        commit(self.root, record, e2e("b", 9.0, held=False))
        commit(self.root, record, e2e("c", 4.0))
        commit(self.root, history.INSTRUCTIONS, kept("1", codec_a=100, codec_b=100))
        commit(self.root, history.INSTRUCTIONS, kept("1", codec_a=200, codec_b=50, codec_new=7))
        commit(self.root, history.INSTRUCTIONS, kept("2", codec_a=900, codec_b=900, codec_new=900))
        commit(self.root, history.INSTRUCTIONS, kept("2", codec_a=450, codec_b=450, codec_new=450))

    def curve(self, name):
        return next(points for _, lines in history.panels(self.root) for line, points in lines if line == name)

    def test_a_point_is_a_ratio_of_a_new_record_that_held_its_rate(self):
        self.assertEqual(self.curve("cluster, 1,000/s, to accepted"), [(1, 1.5), (4, 2.0)])

    def test_new_steps_and_compilers_change_no_level(self):
        levels = [(n, round(level, 9)) for n, level in self.curve("codec")]
        self.assertEqual(levels, [(5, 1.0), (6, 1.0), (7, 1.0), (8, 0.5)])

    def test_the_same_history_gives_the_same_bytes(self):
        first = history.svg(history.panels(self.root))
        copy = f"{self.root}-copy"
        subprocess.run(["git", "clone", "-q", self.root, copy], check=True, capture_output=True)
        self.assertEqual(history.svg(history.panels(copy)), first)
        xml.dom.minidom.parseString(first)

    def test_a_shallow_clone_is_told(self):
        copy = f"{self.root}-shallow"
        subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{self.root}", copy], check=True, capture_output=True)
        with self.assertRaisesRegex(history.Failure, "shallow.*git fetch --unshallow"):
            history.panels(copy)

    def test_a_history_without_records_is_told(self):
        git(self.root, "checkout", "-q", "--orphan", "empty")
        git(self.root, "rm", "-rfq", ".")
        commit(self.root, "other.json", {})
        with self.assertRaisesRegex(history.Failure, "no record"):
            history.svg(history.panels(self.root))

    def test_labels_keep_their_distance_and_their_order(self):
        places = history.spread([10, 11, 11, 90], 15, 0, 100)
        self.assertEqual(sorted(places), places)
        self.assertTrue(all(b - a >= 15 for a, b in zip(places, places[1:])))

    def test_the_summary_tells_only_what_was_measured_since(self):
        folder = pathlib.Path(self.root)
        for name in ("e2e-cluster-1000", "e2e-embedded-1000"):
            (folder / f"{name}.json").write_text(json.dumps(e2e("d", 5.0)))
        os.utime(folder / "e2e-embedded-1000.json", (1, 1))
        told = canonical.summary(folder, since=2)
        self.assertRegex(told, r"cluster, 1,000/s, to accepted +2\.5 ")
        self.assertNotIn("embedded", told)

    def test_the_parts_have_time_to_spare_in_a_quarter_of_an_hour(self):
        self.assertLessEqual(canonical.TOTAL_S, 15 * 60)
        self.assertLessEqual(sum(expected for _, _, expected in canonical.PARTS), canonical.TOTAL_S * 0.9)


if __name__ == "__main__":
    unittest.main()
