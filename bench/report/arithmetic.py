"""What many users cost in machines, worked out from the costs of one of each: a page in Markdown.

The unit costs are figures of profiles. They are taken from result files where those have them, and are else those that
were measured last on a machine that was idle. Everything else on the page follows from them by multiplication, so that
whoever has other users, or another machine, gives other assumptions and reads another page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import ceil

from bench.results.outcome import OURS, Outcome, median
from bench.results.units import number, show_bytes

SIZES = (1_000_000, 10_000_000, 100_000_000)
HOUR_S = 3600
IP_BYTES = 66
"""Headers of a frame that goes out alone: Ethernet, IP and TCP."""


@dataclass(frozen=True)
class Unit:
    """A unit cost: the figure of a profile, in the unit of its name, and what it was when it was measured last."""

    profile: str
    figure: str
    stated: float
    says: str
    per_option: str = ""
    """The figure is of as many as this option of the profile says."""
    where: tuple[str, object] = ("", None)
    """It is taken from a run alone that has an option with this value."""


UNITS = {
    "link_bytes": Unit(
        "idle", "rss_bytes_per_device", 2.6 * 1024, "memory of a device that is connected", where=("door", "tcp")
    ),
    "watch_bytes": Unit("", "", 160, "memory of one user whom a link watches (`graph` with 50 contacts less with 2)"),
    "asleep_bytes": Unit("", "", 0.2 * 1024, "memory of a known user who sleeps (README, Memory)"),
    "awake_bytes": Unit("core", "bytes_per_user", 922, "memory of a known user who is awake"),
    "device_bytes": Unit("core", "bytes_per_live_device", 563, "memory of their live device"),
    "beat_percent": Unit("operate", "server_cpu_percent", 2.5 / 10_000, "% of a core for a link's heartbeats", "links"),
    "login_us": Unit(
        "login", "server_cpu_us_per_login", 134, "CPU of a login with 50 contacts", where=("contacts", 50)
    ),
    "change_us": Unit("core", "change_us", 50.7, "CPU of a change, told to 50 without sockets (on a busy machine)"),
    "delivery_us": Unit(
        "fanout",
        "server_cpu_us_per_delivery",
        6.7,
        "CPU of telling one watcher, in a write of its own",
        where=("publishers", 1),
    ),
    "delivery_bytes": Unit("graph", "wire_bytes_per_delivery", 61.8, "bytes of telling one watcher, without headers"),
    "fact_bytes": Unit("", "", 248, "bytes of a change in the log"),
    "start_us": Unit("", "", 10, "start after a crash, for each known user (README, Looking at it)"),
}
"""All that the page is made of."""


@dataclass(frozen=True)
class Assumptions:
    """What people do, and what a machine is."""

    online: float = 0.1
    """The share of the users who are online at the peak, each with one device."""
    contacts: int = 50
    """Others whom each online user watches."""
    changes_per_hour: float = 4.0
    """Of each online user: texts, statuses, idleness."""
    logins_per_hour: float = 1.0
    """Of each online user. Each is followed by a logout, and watchers are told of both."""
    core_fill: float = 0.5
    """How much of a node's one core is planned for: the rest is for bursts, and for links of a node that is lost."""
    node_gib: float = 16.0
    """Memory of a node, of which as large a part as of its core is planned for."""
    descriptors: int = 1_048_576
    """Files that a process may have open (`LimitNOFILE=`)."""
    network_gbit: float = 10.0
    disk_mib_per_s: float = 100.0
    """What the log may write."""
    start_s: float = 30.0
    """How long a start may take: the time that devices have to come back before they count as gone."""


@dataclass(frozen=True)
class Needs:
    """What so many users need, all nodes together."""

    online: float
    deliveries_per_s: float
    cores: float
    links_bytes: float
    users_bytes: float
    """Of the table of users, which every node has."""
    network_bits_per_s: float
    log_bytes_per_s: float
    start_s: float
    return_s: float
    """CPU of everybody logging in again."""


def unit_costs(outcomes: Sequence[Outcome]) -> tuple[dict[str, float], list[str]]:
    """The unit costs, and the names of those that these outcomes have a figure for."""
    found, measured = {name: unit.stated for name, unit in UNITS.items()}, []
    for outcome in outcomes:
        figures = outcome.servers[OURS].figures if OURS in outcome.servers else {}
        for name, unit in UNITS.items():
            option, value = unit.where
            if option and outcome.options.get(option, value) != value:
                continue
            if unit.profile == outcome.profile and figures.get(unit.figure):
                among = outcome.options.get(unit.per_option, 1) if unit.per_option else 1
                found[name] = median(figures[unit.figure]) / among
                measured.append(name)
    return found, measured


def needs(users: int, given: Assumptions, cost: dict[str, float]) -> Needs:
    """What this many known users need."""
    online = users * given.online
    logins_per_s = online * given.logins_per_hour / HOUR_S
    # Whoever comes and goes changes, too.
    changes_per_s = online * given.changes_per_hour / HOUR_S + 2 * logins_per_s
    # Of those who watch a user, only those who are online are told.
    deliveries_per_s = changes_per_s * given.contacts * given.online
    busy_us = logins_per_s * cost["login_us"] + changes_per_s * cost["change_us"]
    busy_us += deliveries_per_s * cost["delivery_us"]
    return Needs(
        online,
        deliveries_per_s,
        busy_us / 1e6 + online * cost["beat_percent"] / 100,
        online * (cost["link_bytes"] + given.contacts * cost["watch_bytes"]),
        (users - online) * cost["asleep_bytes"] + online * (cost["awake_bytes"] + cost["device_bytes"]),
        deliveries_per_s * (cost["delivery_bytes"] + IP_BYTES) * 8,
        changes_per_s * cost["fact_bytes"],
        users * cost["start_us"] / 1e6,
        online * cost["login_us"] / 1e6,
    )


def shares(need: Needs, given: Assumptions) -> dict[str, float]:
    """How much of one node each resource would take: above 1 it breaks. More nodes change nothing of `COPIES`."""
    memory = given.node_gib * 2**30 * given.core_fill
    return {
        "one core": need.cores / given.core_fill,
        "file descriptors": need.online / given.descriptors,
        "memory of links": need.links_bytes / memory,
        "memory of users": need.users_bytes / memory,
        "network": need.network_bits_per_s / (given.network_gbit * 1e9),
        "the disk": need.log_bytes_per_s / (given.disk_mib_per_s * 2**20),
        "start after a crash": need.start_s / given.start_s,
    }


COPIES = ("memory of users", "the disk", "start after a crash")
"""What a cluster does not divide."""


def nodes(need: Needs, given: Assumptions) -> int:
    """How many nodes carry the links: each has all users, and what is left of its memory is for links."""
    of_one = shares(need, given)
    left = 1 - of_one["memory of users"]
    if left <= 0:
        return 0
    return ceil(
        max(of_one["one core"], of_one["file descriptors"], of_one["memory of links"] / left, of_one["network"])
    )


def page(sizes: Sequence[int], given: Assumptions, outcomes: Sequence[Outcome] = ()) -> str:
    """The page, in Markdown."""
    cost, measured = unit_costs(outcomes)
    lines = ["# What many users cost", "", *INTRODUCTION, "", "## What is assumed", ""]
    lines += [f"* {ASSUMED[one.name].format(plain(getattr(given, one.name)))}" for one in fields(Assumptions)]
    lines += ["", "## What one of each costs", "", "| cost | | from |", "|---|---|---|"]
    for name, unit in UNITS.items():
        source = f"`{unit.profile}`" if unit.profile else "stated"
        source += ", in the files given" if name in measured else ", measured last" if unit.profile else ""
        lines.append(f"| {unit.says} | {_shown(name, cost[name])} | {source} |")
    lines += ["", "## What that makes", ""]
    every = [(size, needs(size, given, cost)) for size in sizes]
    heads = [f"{size:,}" for size in sizes]
    lines += _table("users known", heads, [(what, [say(one) for _, one in every]) for what, say in SAID])
    lines += ["", "How much of one node each resource takes, and so what breaks first (above 100 % it breaks):", ""]
    of_each = [shares(one, given) for _, one in every]
    rows = [(what, [f"{number(100 * each[what], 2)} %" for each in of_each]) for what in of_each[0]]
    rows.append(("**breaks first**", [_first(each) for each in of_each]))
    rows.append(("nodes for the links", [_nodes(nodes(one, given)) for _, one in every]))
    lines += _table("of one node", heads, rows)
    return "\n".join([*lines, "", *LIMITS, ""])


def plain(value: float) -> str:
    """An assumption as it is read: whole numbers whole, with thousands apart."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _table(corner: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    lines = [f"| {corner} | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    return [*lines, *(f"| {what} | {' | '.join(cells)} |" for what, cells in rows)]


def _first(of_one: dict[str, float]) -> str:
    what = max(of_one, key=lambda name: of_one[name])
    return what if of_one[what] > 1 else f"nothing; {what} would"


def _nodes(count: int) -> str:
    return f"{count:,}" if count else "none can: the users alone do not fit"


def _shown(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return show_bytes(value)
    return f"{number(value)} {'us' if name.endswith('_us') else '%'}"


SAID: tuple[tuple[str, Callable[[Needs], str]], ...] = (
    ("online at the peak", lambda need: f"{need.online:,.0f}"),
    ("watchers told a second", lambda need: number(need.deliveries_per_s)),
    ("cores, all busy", lambda need: number(need.cores)),
    ("memory of links and what they watch", lambda need: show_bytes(need.links_bytes)),
    ("memory of all users, on every node", lambda need: show_bytes(need.users_bytes)),
    ("network out, Mbit/s", lambda need: number(need.network_bits_per_s / 1e6)),
    ("log, a second", lambda need: show_bytes(need.log_bytes_per_s)),
    ("start after a crash", lambda need: f"{number(need.start_s)} s"),
    ("CPU when everybody comes back at once", lambda need: f"{number(need.return_s)} s"),
)

INTRODUCTION = (
    "`python -m bench arithmetic` makes this page by multiplication from what one of each costs. It takes the costs",
    "from result files if it is given some (`python -m bench arithmetic today.json`), and assumes something else by",
    "options. It is a plan and no measurement: nobody has run the larger sizes.",
)

ASSUMED = {
    "online": "Of all known users the share {} is online at the peak, each with one device; the others sleep.",
    "contacts": "Each online user watches {} others by name, and is watched by as many.",
    "changes_per_hour": "An online user changes {} times an hour.",
    "logins_per_hour": "An online user comes {} times an hour, and goes as often.",
    "core_fill": "The share {} of a core and of the memory of a node is planned for; the rest is for bursts.",
    "node_gib": "A node is one process, which uses one core, and has {} GiB.",
    "descriptors": "A process may have {} files open.",
    "network_gbit": "The network of a node carries {} Gbit/s.",
    "disk_mib_per_s": "The disk takes {} MiB/s of the log.",
    "start_s": "A start may take {} s: devices that come back later count as gone, and everybody is told.",
}

LIMITS = (
    "A node has one core, whatever the machine has: that is its first limit where people do much, and memory where",
    "they only are there. A cluster divides links and fan-out, not copies: every node has all users, reads all of them",
    "at its start, and one log has all changes. So the rows of the memory of users, the disk and the start do not",
    "shrink with more nodes; where one of these breaks, users are to be divided among clusters that know nothing of",
    "each other. A start that takes sleeping users from a snapshot reads less than the one that is reckoned with here",
    "(`python -m bench sleep`). Users with claims or privacy settings do not sleep, and weigh",
    "as those who are awake. With TLS a link takes five times the memory (README, Memory).",
)
