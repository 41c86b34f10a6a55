"""What a profile found, in one sentence for somebody with two minutes."""

from __future__ import annotations

from statistics import median

from bench.results.outcome import LIMIT, OURS, Outcome
from bench.results.units import is_rate, label, number, plain, show, shown_name

HEADLINES = {
    "fanout": "one change told to {watchers} watchers costs {main} of server CPU each",
    "graph": "{users} users with {contacts} contacts each, all changing: {main} of server CPU for each notification",
    "latency": "at {share_percent} of {peak_of} peak of {peak} changes a second 99 in 100 watchers wait at most {main}",
    "login": "a login with {contacts} contacts costs {main} of server CPU",
    "heartbeat": "a heartbeat costs {main} of server CPU",
    "idle": "a connected device that does nothing takes {main} of memory",
    "operate": "with {links} links, a scrape of the metrics takes {main}",
    "service": "a device that a backend speaks for costs {main} of server CPU {per}",
    "webhooks": "an event that is posted to a URL costs {main} of server CPU",
    "contacts": "a contact in a list that a backend sets costs {main} of server CPU",
    "restart": "{users} users return after the daemon was killed: {main} of server CPU for each",
    "durable": "a change that is on the disk before it is acknowledged: {main} of server CPU, with {writers} writers",
    "scale": "told to each of {links_max} watchers, a change costs {main} of server CPU",
    "resume": "a device that a backend takes back with its link costs {main} of server CPU",
    "flap": "a link that is lost and comes back within the grace costs {main} of server CPU",
    "slow": "{slow} of {watchers} watchers stop reading: the p99 of the others becomes {main} times as long",
    "cluster": "a turn in which something changed costs a node of a cluster {main} of CPU more than one daemon",
    "snapshot": "while a snapshot of {users} users is taken, 99 of 100 watchers wait at most {main}",
    "recovery": "from start to ready with {users} users, from the log: {main}",
    "sleep": "a start with {users} users, nine in ten of them away, costs {main} of CPU for each",
    "mixed": "1,000 people online, with all that they do, cost {main} of server CPU a second",
    "soak": "in {minutes} minutes of everything at once, resident memory grows by {main} a minute",
    "channel": "in a room of {members} members, 99 of 100 turns take at most {main}",
    "store": "a fact on the disk costs {main} of CPU, with {writers} writers",
    "core": "a change among {users_max} users: {main}",
}
SEVERAL_PUBLISHERS = "{publishers} changes at once told to {watchers} watchers cost {main} of server CPU each"


def headline(outcome: Outcome) -> str:
    """One sentence: what it costs, and how much that is of what the others take."""
    sentence = claim(outcome)
    beside = comparisons(outcome)
    return f"{sentence}: {', '.join(beside)}" if beside else sentence


def comparisons(outcome: Outcome) -> list[str]:
    """`1.2 x a bare C loop`, `0.50 x Redis`: ours over theirs."""
    return [
        f"{number(ratio['median'], 2)} x {'a bare C loop' if name == LIMIT else shown_name(name)}"
        for name, ratio in outcome.ratios().items()
    ]


def faults_sentence(outcome: Outcome) -> str:
    """What arrived wrongly, of which servers; empty if nothing."""
    told = []
    for name, faults in outcome.faults().items():
        counts = ", ".join(f"{count:,} {what}" for what, count in faults.items())
        told.append(f"{shown_name(name)}: {counts}")
    return f"the run failed: {'; '.join(told)}; its figures mean nothing" if told else ""


def claim(outcome: Outcome) -> str:
    """What it costs, without what it is compared with."""
    figure, options = outcome.main_figure, outcome.options
    ours = outcome.servers.get(OURS)
    values = ours.figures.get(figure) if ours else None
    if not values:
        return f"{outcome.title}: no round was completed"
    shown = {name: plain(given) for name, given in options.items()}
    for name, given in options.items():
        if isinstance(given, list | tuple) and given and all(map(_is_number, given)):
            shown[f"{name}_max"] = plain(max(given))
        if isinstance(given, float):
            shown[f"{name}_percent"] = f"{100 * given:.0f}%"
    several = outcome.profile == "fanout" and options.get("publishers", 1) != 1
    template = SEVERAL_PUBLISHERS if several else HEADLINES.get(outcome.profile, "")
    main = show(figure, median(values), 2)
    what = label(figure)
    per = "per" + what.partition(" per")[2] if " per " in what and not is_rate(figure) else ""
    try:
        return template.format(**shown, main=main, per=per).strip() if template else f"{what}: {main}"
    except KeyError:
        return f"{what}: {main}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
