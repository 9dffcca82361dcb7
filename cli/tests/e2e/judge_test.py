#!/usr/bin/env python3
"""The judge finds what it is there to find: each fault is planted in logs without one."""

from client import Client, Push
import occurrences
from judge import compare, finds_a_planted_loss, out_of_order
from occurrences import Fired
from verdict import Verdict

verdict = Verdict()
USERS = ("u1", "u2", "u3")


def body_of(message):
    return f"body of {message}"


def push(message, session="s1", replay=False):
    return Push(message, body_of(message), 1, session, replay, 0.0)


def clean():
    """Thirty messages that all came: `u1` has two devices."""
    accepted = {f"m-{n:02}": USERS[n % 3] for n in range(30)}
    clients = [Client(user, "d1", None, None) for user in USERS] + [Client("u1", "d2", None, None)]
    for client in clients:
        client.log = [push(message) for message, user in accepted.items() if user == client.user]
    return accepted, clients


def complaints(accepted, clients, in_flight=0):
    return compare(accepted, clients, in_flight, body_of)[1]


def number(message):
    return int(message[2:])


def fired_well():
    """Two tasks of ten seconds, fired 5 ms late."""
    return [Fired(f"t{n}@{due}", f"t{n}@{due}", due + 5) for n in range(2) for due in range(1_000, 11_000, 1_000)]


def schedule():
    wanted = {record.id for record in fired_well()}

    def complaints_of(fired, timed=True):
        return occurrences.compare(wanted, fired, {"t1"}, 8_000, timed)[1]

    verdict.fact(complaints_of(fired_well()) == [], "a schedule fired well is not complained of", complaints_of(fired_well()))
    again = lambda record, at_ms=20_000: Fired(record.id, record.occurrence, at_ms)
    faults = {
        "an occurrence that is missing": lambda log: log.pop(3),
        "an occurrence of no task": lambda log: log.append(Fired("t0@1500", "t0@1500", 1_505)),
        "an occurrence under another id": lambda log: log.append(Fired(log[0].id, "t0@2000", 2_005)),
        "an occurrence twice of what was not claimed at the kill": lambda log: log.append(again(log[7])),
        "an occurrence three times": lambda log: log.extend([again(log[17]), again(log[17])]),
        "an occurrence that is late while both lived": lambda log: log.__setitem__(2, again(log[2], 4_001)),
    }
    for what, plant in faults.items():
        log = fired_well()
        plant(log)
        verdict.fact(complaints_of(log), f"found: {what}")
    log = fired_well()
    log[2], log[9] = again(log[2], 4_001), again(log[9])
    verdict.fact(complaints_of(log, timed=False) == [], "without judging times lateness is only told", complaints_of(log, timed=False))
    log = fired_well() + [again(fired_well()[17])]
    verdict.fact(complaints_of(log) == [], "an occurrence twice of what was claimed at the kill is allowed", complaints_of(log))


def main():
    schedule()
    accepted, clients = clean()
    verdict.fact(complaints(accepted, clients) == [], "logs without a fault are not complained of", complaints(accepted, clients))
    verdict.fact(out_of_order(clients, number) == 0, "logs in order are in order")
    verdict.fact(finds_a_planted_loss(accepted, clients, 0), "a loss planted in good logs is found")

    faults = {
        "one log line that is dropped": lambda logs: logs[1].pop(4),
        "a user that saw nothing": lambda logs: logs[2].clear(),
        "a push on another user's socket": lambda logs: logs[0].append(push("m-01")),
        "a push that nobody accepted": lambda logs: logs[0].append(push("m-99")),
        "a push that came twice": lambda logs: logs[0].append(logs[0][0]),
        "a push with another's body": lambda logs: setattr(logs[0][0], "body", body_of("m-27")),
    }
    for what, plant in faults.items():
        accepted, clients = clean()
        plant([client.log for client in clients])
        verdict.fact(len(complaints(accepted, clients)) == 1, f"found: {what}", complaints(accepted, clients))

    accepted, clients = clean()
    clients[0].log.append(clients[0].log[0])
    verdict.fact(complaints(accepted, clients, 1) == [], "a duplicate of what was in flight at a kill is allowed")
    accepted, clients = clean()
    clients[0].log.pop(3)
    verdict.fact(complaints(accepted, clients) == [], "one of two devices is enough: the push was for the user")
    accepted, clients = clean()
    clients[0].log[2:4] = reversed(clients[0].log[2:4])
    verdict.fact(out_of_order(clients, number) == 1, "found: two pushes that changed places")


if __name__ == "__main__":
    verdict.run(main)
