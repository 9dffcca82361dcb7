"""Compares what producers were promised with what clients saw."""

import collections


def judge(accepted, clients, in_flight):
    """`accepted`: {message id: user}. `clients`: every client, by whom its user's pushes should have come. `in_flight`: pushes
    in flight at the kills, together. Prints the figures; returns the list of complaints."""
    wanted = collections.defaultdict(set)
    for message, user in accepted.items():
        wanted[user].add(message)
    by_user = collections.defaultdict(list)
    for client in clients:
        by_user[client.user].append(client)
    complaints, lost, doubled, foreign, raw = [], 0, 0, 0, 0
    for user, ids in wanted.items():
        seen = collections.Counter()
        for client in by_user[user]:
            own = collections.Counter(push.id for push in client.log)
            doubled += sum(n - 1 for n in own.values())
            raw += sum(own.values())
            seen |= own
        missing = ids - seen.keys()
        lost += len(missing)
        if missing:
            complaints.append(f"user {user} misses {len(missing)}, e.g. {sorted(missing)[:3]}")
    for user, devices in by_user.items():
        for client in devices:
            wrong = [push.id for push in client.log if push.id in accepted and accepted[push.id] != user]
            foreign += len(wrong)
    if foreign:
        complaints.append(f"{foreign} pushes reached another user's socket")
    if doubled > in_flight:
        complaints.append(f"{doubled} duplicates, {in_flight} were in flight at the kills")
    print(f"accepted {len(accepted)}  received {raw}  lost {lost}  duplicates {doubled}  in flight at kills {in_flight}")
    return complaints


def out_of_order(clients, number):
    """Pairs of neighbours within one session whose `number(id)` falls, duplicates and replays left out."""
    falls = 0
    for client in clients:
        last, seen = {}, set()
        for push in client.log:
            if push.id in seen:
                continue
            seen.add(push.id)
            n = number(push.id)
            if n < last.get(push.session, -1):
                falls += 1
            last[push.session] = n
    return falls
