#!/usr/bin/env python3
"""Draws how delivery latency and cost went over the commits, from every version of the records in bench/results.

Only ratios between runs of one record are drawn, because the records come from several machines; and bytes and instructions, which are the
same on each. The same history gives the same bytes. Nothing but Python's own library is needed.

    scripts/bench history            writes docs/src/architecture/history.svg
    scripts/bench history --table    prints the points instead
"""

import json
import math
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs/src/architecture/history.svg"
INSTRUCTIONS = "bench/instructions.json"


class Failure(Exception):
    """What is told to the user, without a trace."""


# --- what is drawn ----------------------------------------------------------------------------------------------------


def at(record, *names):
    """The number at this place of a record, or None."""
    for name in names:
        record = record.get(name) if isinstance(record, dict) else None
    return record if isinstance(record, (int, float)) and not isinstance(record, bool) and record > 0 else None


def value(*names):
    return lambda record: at(record, *names)


def inverse(*names):
    """Of how much is done for a cost: the cost of one."""
    return lambda record: 1 / at(record, *names) if at(record, *names) else None


def delivered_to_accepted(record):
    """Of a run that held its rate: the median of delivery in medians of making a message durable."""
    delivered, accepted = at(record, "delivery_ms", "p50"), at(record, "accepted_ms", "p50")
    held = record.get("rate_held") is True and delivered is not None and delivered <= 500
    return delivered / accepted if held and accepted else None


# Title, and its curves: name, record, what of it.
PANELS = [
    ("Latency, median: in medians of the control in the same run", [
        ("embedded, 1,000/s, to accepted", "e2e-embedded-1000", delivered_to_accepted),
        ("embedded, 10,000/s, to accepted", "e2e-embedded-10000", delivered_to_accepted),
        ("cluster, 1,000/s, to accepted", "e2e-cluster-1000", delivered_to_accepted),
        ("high beside low, to control", "dispatcher-lanes", value("high_with_low_p50_to_control")),
        ("beside silent mails, to alone", "dispatcher-silent", value("with_mails_p50_to_alone")),
        ("codes beside campaign, to idle", "dispatcher-codes", value("p50_to_idle")),
    ]),
    ("Cost: in costs of the other in the same run", [
        ("push over link, to raw ring", "gateway-fan-out", inverse("ratios", "records_to_raw_ring", "by_thread_time")),
        ("push to all, to raw ring", "gateway-fan-out", inverse("ratios", "all_to_raw_ring", "by_thread_time")),
        ("echo, to raw ring", "gateway-echo", inverse("ratios", "gateway_to_raw_ring", "by_thread_time")),
        ("push under TLS, to without", "gateway-fan-out-tls", inverse("ratios", "records_tls_to_bare", "by_thread_time")),
        ("accept with token, to without", "gateway-accepts", inverse("ratios", "with_to_without", "by_thread_time")),
        ("all by dispatcher, to link", "dispatcher-all", inverse("rate_to_gateways_own")),
        ("mail of a lane, to nodemailer", "dispatcher-mail-lane", inverse("ratio")),
        ("due task in Redis, to BullMQ", "dispatcher-due", inverse("redis_cpu_per_task_ratio")),
    ]),
    ("Memory: bytes an idle session", [
        ("plain", "gateway-idle", value("bytes_per_idle_session")),
        ("TLS", "gateway-idle-tls", value("bytes_per_idle_session")),
    ]),
]
GROUPS = ["codec", "link", "json", "ring", "ledger", "schedule", "outbox"]
INSTRUCTIONS_TITLE = "Instructions of a step: to the first that were kept"


# --- where it comes from ----------------------------------------------------------------------------------------------


def git(*arguments, root=ROOT):
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"git {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def versions(path, root=ROOT):
    """Every version of a file: which commit of the history brought it, counted from the first; and what stands in it. The oldest first."""
    found = []
    for revision in git("log", "--format=%H", "--reverse", "--topo-order", "--diff-filter=AM", "--no-renames", "--", path, root=root).split():
        try:
            content = json.loads(git("show", f"{revision}:{path}", root=root))
        except ValueError as error:
            raise Failure(f"{path} in {revision[:12]}: {error}") from error
        found.append((int(git("rev-list", "--count", revision, root=root)), content))
    return found


def points_of(records, of):
    """The points of a curve. A record that was only written anew, of the same measured commit, is no new point."""
    points, last = [], None
    for commit, record in records:
        number = of(record)
        if number is not None and (record.get("commit"), number) != last:
            points.append((commit, number))
            last = (record.get("commit"), number)
    return points


def instruction_points(kept):
    """For each group of steps: the geometric mean of how counts changed from version to version, chained, so that a step that is new
    changes nothing; and so does a version that another compiler made."""
    curves = {group: [] for group in GROUPS}
    level, before = dict.fromkeys(GROUPS, 1.0), None
    for commit, content in kept:
        counts = content.get("instructions", {})
        same = before is not None and before.get("counted_with") == content.get("counted_with")
        for group in GROUPS:
            steps = [step for step in counts if step.startswith(group + "/")]
            both = [step for step in steps if same and before["instructions"].get(step, 0) > 0 and counts[step] > 0]
            if both:
                changes = sum(math.log(counts[step] / before["instructions"][step]) for step in sorted(both))
                level[group] *= math.exp(changes / len(both))
            if steps:
                curves[group].append((commit, level[group]))
        before = content
    return curves


def panels(root=ROOT):
    if git("rev-parse", "--is-shallow-repository", root=root).strip() == "true":
        raise Failure("this clone is shallow, and the history it draws is not there: git fetch --unshallow")
    read = {}
    drawn = []
    for title, curves in PANELS:
        lines = []
        for name, record, of in curves:
            if record not in read:
                read[record] = versions(f"bench/results/{record}.json", root)
            lines.append((name, points_of(read[record], of)))
        drawn.append((title, lines))
    instructions = instruction_points(versions(INSTRUCTIONS, root))
    drawn.append((INSTRUCTIONS_TITLE, [(group, instructions[group]) for group in GROUPS]))
    return [(title, [line for line in lines if line[1]]) for title, lines in drawn]


# --- drawing ----------------------------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT, TOP, PLOT, BOTTOM = 860, 52, 290, 34, 190, 26
PANEL = TOP + PLOT + BOTTOM
# Told apart by those who see few colours, on a light ground and on a dark one; the shape of the points tells the same.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56a4d9", "#8a8a8a", "#a05fd0"]
STYLE = """
  .ground { fill: #ffffff } text { fill: #333333; font: 12px sans-serif } .title { font-weight: bold; font-size: 13px }
  .tick { fill: #666666; font-size: 11px } .grid { stroke: #dddddd } .one { stroke: #888888; stroke-dasharray: 4 3 }
  .line { fill: none; stroke-width: 1.8 } .lead { fill: none; stroke-width: 0.8; stroke-dasharray: 1 4 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #1b1d23 } text { fill: #d8d8d8 } .tick { fill: #a0a0a0 } .grid { stroke: #3a3d45 } .one { stroke: #8f8f8f }
  }
"""


def ticks(low, high):
    """Round values between these, as many as can be told apart."""
    for steps in ((1, 1.2, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**power for power in range(-6, 10) for m in steps if low <= m * 10.0**power <= high]
        if len(found) <= 8:
            break
    return found


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def point(shape, x, y, colour):
    if shape % 3 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>'
    if shape % 3 == 1:
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"/>'
    return f'<path d="M{x:.1f} {y - 4:.1f} L{x + 4:.1f} {y + 3:.1f} L{x - 4:.1f} {y + 3:.1f} Z" fill="{colour}"/>'


def spread(wanted, apart, low, high):
    """Places as near to those wanted as they can be, in the same order, so far apart."""
    order = sorted(range(len(wanted)), key=lambda n: (wanted[n], n))
    places, last = {}, low - apart
    for n in order:
        last = places[n] = max(wanted[n], last + apart)
    last = high + apart
    for n in reversed(order):
        last = places[n] = min(places[n], last - apart)
    return [places[n] for n in range(len(wanted))]


def panel(top, title, lines, first, last):
    """One chart, its values by powers: what is twice as much is as far away everywhere."""
    values = [v for _, points in lines for _, v in points]
    least, most = min(values) * 0.94, max(values) * 1.06
    marks = ticks(least, most)
    low, high = math.log(least), math.log(most)
    right, floor = WIDTH - RIGHT, top + TOP + PLOT

    def x(commit):
        return LEFT + (commit - first) / max(1, last - first) * (right - LEFT)

    def y(v):
        return floor - (math.log(v) - low) / (high - low) * PLOT

    out = [f'<text class="title" x="{LEFT}" y="{top + 18}">{escape(title)}</text>']
    for mark in marks:
        kind = "one" if mark == 1 else "grid"
        out.append(f'<line class="{kind}" x1="{LEFT}" x2="{right}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>')
        out.append(f'<text class="tick" x="{LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{number(mark)}</text>')
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10**9) if (last - first) / s <= 8)
    for commit in range(-(-first // step) * step, last + 1, step):
        out.append(f'<text class="tick" x="{x(commit):.1f}" y="{floor + 16}" text-anchor="middle">{commit}</text>')
    labels = spread([y(points[-1][1]) for _, points in lines], 15, top + TOP + 4, floor)
    for n, ((name, points), label) in enumerate(zip(lines, labels)):
        colour = COLOURS[n % len(COLOURS)]
        path = " ".join(f"{x(commit):.1f},{y(v):.1f}" for commit, v in points)
        out.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        out += [point(n, x(commit), y(v), colour) for commit, v in points]
        end = f"{x(points[-1][0]) + 5:.1f},{y(points[-1][1]):.1f} {right + 6},{label:.1f} {right + 12},{label:.1f}"
        out.append(f'<polyline class="lead" stroke="{colour}" points="{end}"/>')
        out.append(point(n, right + 18, label, colour))
        out.append(f'<text x="{right + 26}" y="{label + 4:.1f}">{escape(name)}: {number(points[-1][1])}</text>')
    return out


def svg(drawn):
    drawn = [(title, lines) for title, lines in drawn if lines]
    if not drawn:
        raise Failure("no record of bench/results is in the history")
    commits = [commit for _, lines in drawn for _, points in lines for commit, _ in points]
    height = len(drawn) * PANEL + 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="Delivery latency and cost over the commits">',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
    ]
    for n, (title, lines) in enumerate(drawn):
        out += panel(n * PANEL, title, lines, min(commits), max(commits))
    out.append(f'<text class="tick" x="{LEFT}" y="{height - 10}">commits since the first; the last value beside each name</text>')
    return "\n".join(out) + "\n</svg>\n"


def table(drawn):
    for title, lines in drawn:
        print(title)
        for name, points in lines:
            print(f"    {name:<34} " + "  ".join(f"{commit}: {v:.3f}" for commit, v in points))


def main(arguments):
    if arguments not in ([], ["--table"]):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        drawn = panels()
        if arguments:
            table(drawn)
            return 0
        TARGET.write_text(svg(drawn))
    except Failure as failure:
        print(f"history: {failure}", file=sys.stderr)
        return 1
    print(f"wrote {TARGET.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
