"""Compares the times that schedules name with the records that came."""

import collections
import json
from dataclasses import dataclass

LATE_MS = 1_000


@dataclass
class Fired:
    """A record of an occurrence: its id and when the broker had it."""

    id: str
    occurrence: str
    at_ms: int

    @classmethod
    def of(cls, record):
        message = json.loads(record.value())
        return cls(message["id"], message["occurrence"], record.timestamp()[1])

    @property
    def task(self):
        return self.occurrence.split("@")[0]

    @property
    def due_ms(self):
        return int(self.occurrence.split("@")[1])

    @property
    def late_ms(self):
        return self.at_ms - self.due_ms


def judge(wanted, fired, claimed, kill_ms, timed):
    """Prints the figures; returns the complaints of `compare`, and one more if a loss planted in the same records is not found."""
    figures, complaints = compare(wanted, fired, claimed, kill_ms, timed)
    print("  ".join(f"{name} {figure}" for name, figure in figures.items()), flush=True)
    if not complaints and fired and not compare(wanted, without(fired, fired[len(fired) // 2].id), claimed, kill_ms, timed)[1]:
        complaints.append("the judge is blind: it did not miss an occurrence that was taken out of the records")
    return complaints


def compare(wanted, fired, claimed, kill_ms, timed):
    """`wanted`: ids of all occurrences. `fired`: all records. `claimed`: tasks that were claimed when a dispatcher was killed, at
    `kill_ms`. `timed`: whether what is late while both lived is complained of. Returns figures and complaints."""
    times = collections.Counter(record.id for record in fired)
    twice = {ident for ident, n in times.items() if n > 1}
    first = {}
    for record in fired:
        if record.id not in first or record.at_ms < first[record.id].at_ms:
            first[record.id] = record
    # Of what was due just before the kill, some was the killed one's to send.
    both = [record for record in first.values() if record.due_ms <= kill_ms - LATE_MS]
    late = [record for record in both if record.late_ms > LATE_MS]
    complaints = []
    for what, found in (
        ("were not fired", wanted - times.keys()),
        ("were fired and are no times of a task", times.keys() - wanted),
        ("came twice and were not claimed at the kill", {ident for ident in twice if ident.split("@")[0] not in claimed}),
        ("came more than twice", {ident for ident, n in times.items() if n > 2}),
        ("have another id than their occurrence", {record.id for record in fired if record.id != record.occurrence}),
        ("came more than a second late while both lived", {record.id for record in late} if timed else ()),
    ):
        if found:
            complaints.append(f"{len(found)} occurrences {what}, e.g. {sorted(found)[:3]}")
    delays = sorted(record.late_ms for record in both)
    after = max((record.late_ms for record in first.values()), default=0)
    share = lambda per_mille: delays[len(delays) * per_mille // 1000] if delays else 0
    figures = {
        "wanted": len(wanted), "records": len(fired), "distinct": len(times), "twice": len(twice), "claimed at the kill": len(claimed),
        "ms late while both lived, p50": share(500), "p99": share(990), "max": max(delays, default=0), "max of all": after,
    }
    return figures, complaints


def without(fired, ident):
    """The records, as if this occurrence had never come."""
    return [record for record in fired if record.id != ident]
