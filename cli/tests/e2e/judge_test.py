#!/usr/bin/env python3
"""The judge finds what it is there to find: each fault is planted in logs without one."""

from client import Client, Push
from judge import compare, finds_a_planted_loss, out_of_order
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


def main():
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
