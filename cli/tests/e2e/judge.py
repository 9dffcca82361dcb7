"""Compares what producers were promised with what clients saw."""

import collections
import copy


def judge(accepted, clients, in_flight, body_of=None):
    """Prints the figures; returns the complaints of `compare`, and one more if a loss planted in the same logs is not found."""
    figures, complaints = compare(accepted, clients, in_flight, body_of)
    print("  ".join(f"{name} {figure}" for name, figure in figures.items()), flush=True)
    if not complaints and not finds_a_planted_loss(accepted, clients, in_flight):
        complaints.append("the judge is blind: it did not miss a push that was taken out of the logs")
    return complaints


def compare(accepted, clients, in_flight, body_of=None):
    """`accepted`: {message id: user}. `clients`: every client, by whom its user's pushes should have come. `in_flight`: pushes
    in flight at the kills, together. `body_of`: what stands in a message. Returns figures and complaints."""
    wanted, by_user = collections.defaultdict(set), collections.defaultdict(list)
    for message, user in accepted.items():
        wanted[user].add(message)
    for client in clients:
        by_user[client.user].append(client)
    complaints, lost, doubled, raw = [], 0, 0, 0
    for user, ids in wanted.items():
        seen = set()
        for client in by_user[user]:
            own = collections.Counter(push.id for push in client.log)
            doubled += sum(n - 1 for n in own.values())
            raw += sum(own.values())
            seen |= own.keys()
        missing = ids - seen
        lost += len(missing)
        if missing:
            complaints.append(f"user {user} misses {len(missing)}, e.g. {sorted(missing)[:3]}")
    pushes = [(client.user, push) for client in clients for push in client.log]
    foreign = [(user, push.id) for user, push in pushes if accepted.get(push.id, user) != user]
    unknown = [(user, push.id) for user, push in pushes if push.id not in accepted]
    altered = [(user, push.id) for user, push in pushes if body_of and push.body != body_of(push.id)]
    for what, found in (("reached another user's socket", foreign), ("were never accepted", unknown), ("changed on the way", altered)):
        if found:
            complaints.append(f"{len(found)} pushes {what}, e.g. {found[:3]}")
    if doubled > in_flight:
        complaints.append(f"{doubled} duplicates, {in_flight} were in flight at the kills")
    figures = {"accepted": len(accepted), "received": raw, "lost": lost, "duplicates": doubled, "in flight at kills": in_flight}
    return figures, complaints


def finds_a_planted_loss(accepted, clients, in_flight):
    """Takes one push out of a copy of the logs: the judgement must miss it."""
    for client in clients:
        ids = [push.id for push in client.log if push.id in accepted]
        if ids:
            gone = ids[len(ids) // 2]
            return bool(compare(accepted, [without(other, gone) for other in clients], in_flight)[1])
    return not accepted


def without(client, message):
    """The client, as if it had never seen this message."""
    if all(push.id != message for push in client.log):
        return client
    client = copy.copy(client)
    client.log = [push for push in client.log if push.id != message]
    return client


def out_of_order(clients, number):
    """Pairs of neighbours within one session whose `number(id)` falls, duplicates left out."""
    return len(falls(clients, number))


def falls(clients, number):
    """The same, as (client, push before, push) each."""
    found = []
    for client in clients:
        last, seen = {}, set()
        for push in client.log:
            if push.id in seen:
                continue
            seen.add(push.id)
            before = last.get(push.session)
            if before and number(push.id) < number(before.id):
                found.append((client, before, push))
            last[push.session] = push
    return found
