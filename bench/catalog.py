"""The table of the profiles: what each is called, what it measures, and what can be set.

Every profile is a module of `bench.profiles` by its name, or by another that it gives; nothing of it is imported
before it is run.

The file is long because it is one list.
"""

from __future__ import annotations

import click

from bench.registry import Option, Profile

PEERS = ("redis", "nats", "mosquitto", "ejabberd", "prosody")

SECONDS = click.FloatRange(0.05)
POSITIVE = click.FloatRange(0, min_open=True)
SHARE = click.FloatRange(0, 1, min_open=True)
FLAG = click.BOOL
DOOR = click.Choice(["tcp", "websocket"])
COUNT_OR_0 = click.FloatRange(0)
TLS = Option("tls", False, "Every connection under TLS 1.3, with one certificate and cipher for all.", FLAG)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "fanout",
            "fan-out: server CPU for each delivery",
            "Publishers change and every watcher must be told, one step at a time: the server's CPU for each delivery, "
            "and how long the watchers wait for it. A bare C loop is sent the same bytes in turn with the server.",
            (
                Option("watchers", 1000, "Links that watch all publishers.", quick=200),
                Option("changes", 200, "Changes of each publisher in a round.", quick=20),
                Option("publishers", 1, "Users who change at once."),
                Option("warmup", 20, "Changes before the first round.", quick=5),
                Option("durable", False, "Give the daemon a data directory.", kind=FLAG),
                Option(
                    "door",
                    "tcp",
                    "websocket: beside it the same over WebSockets, and two servers in Python that only pass on.",
                    DOOR,
                ),
                TLS,
            ),
            rounds=5,
            peers=PEERS,
        ),
        Profile(
            "graph",
            "graph: server CPU for each delivery",
            "Every user is online, watches some others, and changes as fast as the server answers: a closed loop, "
            "which finds the peak and says nothing of the waits at a lower rate.",
            (
                Option("users", 900, "Users, each with one link.", click.IntRange(2), quick=100),
                Option("contacts", 50, "Others that each user watches.", quick=10),
                Option("changes", 20, "Changes of each user in a round.", quick=10),
                Option("see_contacts", False, "Beside it presenced where users see their contacts alone.", FLAG),
                TLS,
                Option("seed", 1, "Chooses who watches whom.", click.INT),
            ),
            rounds=5,
            peers=PEERS,
        ),
        Profile(
            "latency",
            "latency: from a change to its watchers, at a fixed rate",
            "Changes come at fixed times whatever the server does, and each wait counts from the time at which its "
            "change was due: an open loop, which a server that stands still cannot slow down. Beside Redis both have "
            "the same rate, a share of the peak of Redis.",
            (
                Option("users", 900, "Users, each with one link.", click.IntRange(2), quick=200),
                Option("contacts", 50, "Others that each user watches.", quick=20),
                Option("share", 0.5, "Of the peak, which is measured first.", SHARE),
                Option("peak", 0.0, "Changes per second, if it is not to be measured; 0 = measure.", COUNT_OR_0),
                Option("seconds", 5.0, "Time of a round.", SECONDS, quick=1.0),
                Option("even", False, "Changes at equal distances, not at random ones.", FLAG),
                Option("seed", 1, "Chooses who watches whom.", click.INT),
            ),
            rounds=3,
            peers=("redis",),
        ),
        Profile(
            "login",
            "login: server CPU for each",
            "Users come online all at once, as after a deployment or a lost network. A login is everything from the "
            "connection to the moment at which the user has been told the present state of every contact.",
            (
                Option("users", 900, "Users who log in.", click.IntRange(2), quick=100),
                Option("contacts", 50, "Others that each of them watches.", quick=10),
                Option("see_contacts", False, "Beside it presenced where users see their contacts alone.", FLAG),
                TLS,
                Option("seed", 1, "Chooses who watches whom.", click.INT),
            ),
            rounds=5,
            peers=PEERS,
        ),
        Profile(
            "heartbeat",
            "heartbeat: server CPU for each",
            "One heartbeat on every link, then a rest, so that two never share a read: in life they are half a minute "
            "apart. A C loop reads and discards the same bytes in turn with the server.",
            (
                Option("links", 1000, "Links that send heartbeats.", quick=300),
                Option("sweeps", 20, "Heartbeats of each link in a round.", quick=10),
            ),
            rounds=5,
        ),
        Profile(
            "check",
            "check: server CPU for each checksum of a view",
            "Each link watches some users and asks for the checksum of them, then the server rests, so that two never "
            "share a read. Heartbeats and pings of the same links take turns with it.",
            (
                Option("links", 1000, "Links that ask.", quick=300),
                Option("watched", 50, "Users that each watches.", quick=20),
                Option("sweeps", 10, "Checks of each link in a round.", quick=5),
            ),
            rounds=5,
        ),
        Profile(
            "questions",
            "questions: server CPU for each question about a user",
            "Each link asks about one user, then the server rests, so that two never share a read. Beside it a second "
            "daemon, which has awaits under way about others: its users change in turn with those of the first.",
            (
                Option("links", 300, "Links that ask, on each daemon.", quick=100),
                Option("awaits", 100_000, "Awaits under way on the second daemon.", quick=5_000),
                Option("sweeps", 6, "Questions and changes of each link in a round; an even number.", quick=2),
            ),
            rounds=5,
        ),
        Profile(
            "http",
            "http: server CPU for each request over HTTP",
            "A backend asks by POST /v1/NAME as fast as it is answered, on connections that stay: a closed loop. The "
            "same is asked over one connection alone, where every request has the server's whole way to itself.",
            (
                Option("connections", 16, "Connections that ask at the same time.", quick=4),
                Option("requests", 10_000, "Requests of each kind in a round.", quick=500),
            ),
            rounds=5,
        ),
        Profile(
            "idle",
            "idle: memory and CPU of devices that do nothing",
            "The growth of a server's resident memory over the number of devices that have connected and rest, and "
            "the CPU that they cost while nothing happens. Each server runs while no other does.",
            (
                Option("links", 10_000, "Devices, each of its own user.", quick=2000),
                Option("rest_s", 5.0, "How long nothing happens.", SECONDS, quick=1.0),
                Option("door", "tcp", "By which the devices come.", DOOR),
                TLS,
            ),
            rounds=3,
            peers=PEERS,
        ),
        Profile(
            "operate",
            "operate: what an operator waits for, and what looking costs",
            "Starts on an empty directory, `presencectl get` from a shell, scrapes of the metrics, reloads of the "
            "configuration while a link pings, and the daemon's share of a core while many links only send heartbeats.",
            (
                Option("links", 10_000, "Devices, each of its own user.", quick=500),
                Option("seconds", 10.0, "How long heartbeats are sent in a round.", SECONDS, quick=1.0),
            ),
            rounds=5,
        ),
        Profile(
            "flap",
            "flap: links that are lost and come back",
            "All devices lose their links at once, as on a train, and return within the grace: what that costs, and "
            "that nobody is told of it. Then some stay away longer, and their watchers are told of each of them twice.",
            (
                Option("links", 10_000, "Devices that lose their links.", quick=1000),
                Option("watchers", 5, "Links that watch each of them."),
                Option("late", 1000, "How many come back after the grace.", quick=100),
                Option("grace_s", 10.0, "The grace.", SECONDS, quick=1.0),
            ),
            rounds=3,
        ),
        Profile(
            "resume",
            "resume: links that are lost and taken back",
            "A backend loses the link that speaks for its devices and takes all of them back with one hello, while "
            "another link pings. Then users who watch others lose their links, some with a token to take the watch "
            "back and as many without.",
            (
                Option("devices", 10_000, "Devices of the backend, each of its own user.", quick=2000),
                Option("links", 1000, "Users with a token, and as many without.", quick=200),
                Option("watched", 50, "Others that each of them watches.", quick=20),
            ),
            rounds=5,
        ),
        Profile(
            "slow",
            "slow: watchers that do not read",
            "Some watchers stop reading while changes go on at a fixed rate: whether the others notice, what it costs, "
            "and what the slow ones get when they read again. The figure is the others' p99 beside them over that "
            "without.",
            (
                Option("watchers", 100, "Links that watch all publishers.", click.IntRange(2)),
                Option("slow", 10, "How many of them stop reading."),
                Option("publishers", 20, "Users who change."),
                Option("changes_per_s", 500, "Changes of all of them together."),
                Option("seconds", 8.0, "Each of the two parts of a round.", SECONDS, quick=2.0),
                Option("seed", 1, "Chooses who changes when.", click.INT),
            ),
            rounds=3,
        ),
        Profile(
            "service",
            "service: server CPU for each device of a backend",
            "One backend link speaks for many devices: what attaching each costs, and its heartbeat.",
            (Option("devices", 10_000, "Devices, each of its own user.", quick=2000),),
            rounds=5,
        ),
        Profile(
            "webhooks",
            "webhooks: server CPU for each event that is posted",
            "A backend changes the texts of users, and every change is posted to a receiver on loopback that only "
            "counts: alone, in batches of 20, and of 100, beside a daemon that posts nothing.",
            (
                Option("users", 2_000, "Users whose texts change.", click.IntRange(256), quick=300),
                Option("changes", 20_000, "Changes in a round.", quick=1_000),
            ),
            rounds=5,
        ),
        Profile(
            "contacts",
            "contacts: a backend sets everybody's list",
            "One backend link sets the list of contacts of every user, each as a whole, with the log on a disk: the "
            "server's CPU and memory for each contact, and the start that reads them again.",
            (
                Option("users", 5_000, "Users, each with a list.", click.IntRange(4), quick=500),
                Option("contacts", 50, "Contacts in each list: an even number.", click.IntRange(2), quick=10),
                Option("seed", 1, "Chooses who knows whom.", click.INT),
            ),
            place=True,
        ),
        Profile(
            "durable",
            "durable: writes that are on the disk before they are acknowledged",
            "Writers that each wait for the answer to one write before they send the next; every answer is checked, "
            "and so is what the server still knows after it was killed in their midst.",
            (
                Option("writers", 200, "Connections with one write outstanding each.", quick=50),
                Option("seconds", 5.0, "Time of each server in a round.", SECONDS, quick=0.5),
            ),
            rounds=3,
            peers=("redis",),
            place=True,
        ),
        Profile(
            "restart",
            "restart: what watchers see of one",
            "The daemon is ended under its clients, by SIGKILL and by SIGTERM in turn, and started again: how long "
            "until all are back, and whether anybody is told of anybody as gone who is not.",
            (
                Option("users", 2000, "Users, each with one link.", click.IntRange(2), quick=300),
                Option("contacts", 20, "Others that each user watches."),
                Option("after_s", 45.0, "How long is listened after each restart.", SECONDS, quick=1.0),
                Option("seed", 1, "Chooses who watches whom.", click.INT),
            ),
            rounds=3,
            place=True,
        ),
        Profile(
            "return",
            "return: everybody comes back after a restart",
            "The daemon is stopped and started, some users change, and all clients come back at once: once as clients "
            "that have kept nothing and are told everybody whom they watch, and once as clients that say what they "
            "have and are told what differs. The bytes that the server sends for it, and its CPU.",
            (
                Option("users", 2000, "Users, each with one link.", click.IntRange(2), quick=200),
                Option("watched", 50, "Others that each user watches.", quick=20),
                Option("changed", 0.01, "Share of the users who change before all come back.", click.FloatRange(0, 1)),
                Option("contacts", False, "Watch them as contacts, and not by name.", FLAG),
                Option("lost", False, "Without a restart: the links alone are lost.", FLAG),
                Option("seed", 1, "Chooses who watches whom, and who changes.", click.INT),
            ),
            rounds=3,
            place=True,
            file="reconnection",
        ),
        Profile(
            "recovery",
            "recovery: from start to ready",
            "How long the daemon takes to start on a full data directory, from its log alone and from a snapshot; the "
            "files are not in the page cache.",
            (Option("users", 1_000_000, "Users, each with status, text and a device.", quick=20_000),),
            rounds=3,
            place=True,
        ),
        Profile(
            "sleep",
            "sleep: most users are away for long",
            "Starts with many users of whom one in ten is there, from a snapshot and from a log alone, with the others "
            "asleep and with all awake in turn: CPU and memory. Then what it takes to wake one, a login, and the turns "
            "of a sweep and of a snapshot; without sockets.",
            (
                Option("users", 50_000, "Users, one in ten of whom is there.", click.IntRange(100), quick=2_000),
                Option("contacts", 0, "Contacts of each: an even number.", click.IntRange(0, 256)),
            ),
            rounds=3,
            place=True,
        ),
        Profile(
            "cluster",
            "cluster: what a daemon costs more as a node",
            "A daemon without a cluster, one that is the only node of one, and two nodes take turns in one run: the "
            "star, the graph, heartbeats and logins, changes that nobody watches, and waits on the other node. Then a "
            "node joins a cluster that knows many users. CPU of the nodes and of their Redis, which must be installed.",
            (
                Option("users", 900, "Watchers of the star, and users of the others.", click.IntRange(2), quick=100),
                Option("contacts", 50, "Others that each user watches.", quick=10),
                Option("graph_changes", 20, "Changes of each user of the graph in a round.", quick=10),
                Option("changes", 2000, "Changes that nobody watches, in a round.", quick=200),
                Option("share", 0.5, "Of the peak of two nodes, at which waits are measured.", SHARE),
                Option("seconds", 3.0, "How long, in a round.", SECONDS, quick=0.5),
                Option("known", 100_000, "Users whom a cluster knows that a node joins.", quick=2000),
                Option("seed", 1, "Chooses who watches whom.", click.INT),
            ),
            rounds=5,
            place=True,
        ),
        Profile(
            "snapshot",
            "snapshot: what watchers notice of one",
            "Changes come at fixed times while a snapshot is taken; quiet times and snapshots alternate.",
            (
                Option("users", 1_000_000, "Users in the snapshot.", quick=20_000),
                Option("changes_per_s", 200, "Changes, sent on time.", click.IntRange(1, 2000)),
                Option("watchers", 100, "Links that watch the one who changes."),
                Option("quiet_s", 5.0, "The quiet time.", SECONDS, quick=1.0),
            ),
            rounds=3,
            place=True,
        ),
        Profile(
            "scale",
            "scale: server CPU for each delivery, by the number of links",
            "One publisher, everybody else watches: whether telling each of very many costs more than telling each of "
            "a thousand. All sizes of a round are measured on one daemon as its links grow in number.",
            (
                Option(
                    "links",
                    (1000, 5000, 19_000),
                    "How many links; may be given several times.",
                    quick=(200, 2000),
                    multiple=True,
                ),
                Option("deliveries", 200_000, "About so many at each size.", quick=20_000),
            ),
            rounds=3,
        ),
        Profile(
            "mixed",
            "mixed: everything at once",
            "What people do in an ordinary hour: logins, changes, pauses, lost links, queries and heartbeats come when "
            "they come, whatever the server does. Waits count from the planned time.",
            (
                Option("users", 5000, "Users, nine tenths of whom are online.", click.IntRange(10), quick=300),
                Option("contacts", 20, "Others that each user watches."),
                Option("seconds", 60.0, "Time of a round.", SECONDS, quick=4.0),
                Option("speed", 1.0, "How many times as much happens.", POSITIVE, quick=10.0),
                Option("heartbeat_s", 30.0, "The interval of heartbeats.", POSITIVE),
                Option("seed", 1, "Chooses who does what when.", click.INT),
            ),
            rounds=3,
        ),
        Profile(
            "soak",
            "soak: a mixed load for a long time",
            "The mixed load for a long time: whether memory, descriptors or cost grow. Growth is the slope of a "
            "straight line through the samples after the first fifth of the time.",
            (
                Option("minutes", 10.0, "How long.", POSITIVE, quick=0.15),
                Option("users", 2000, "Users, nine tenths of whom are online.", click.IntRange(10), quick=300),
                Option("contacts", 20, "Others that each user watches."),
                Option("speed", 10.0, "How many times as much happens as in `mixed`.", POSITIVE),
                Option("sample_s", 10.0, "Time between two looks at the server.", SECONDS, quick=1.0),
                Option("heartbeat_s", 30.0, "The interval of heartbeats.", POSITIVE),
                Option("seed", 1, "Chooses who does what when.", click.INT),
            ),
        ),
        Profile(
            "channel",
            "channel: a very large room",
            "How long turns take, and how much each member is told, in a very large room; without sockets.",
            (
                Option("members", 50_000, "Members, each of whom watches the room.", click.IntRange(2_000), quick=5000),
                Option("changes_per_s", 1_000, "Members that change."),
                Option("seconds", 5, "Time of a round, in the room's own time.", quick=1),
            ),
            rounds=3,
        ),
        Profile(
            "store",
            "store: the log beside SQLite",
            "The same facts into presenced's log and into SQLite (WAL, synchronous=FULL), each without a daemon: CPU, "
            "how long an acknowledged change waits for the disk, size, and how long a start reads.",
            (
                Option("users", 100_000, "Users that the store knows.", click.IntRange(1000), quick=5000),
                Option("writers", 200, "Who wait for their change at the same time.", quick=20),
                Option("seconds", 3.0, "How long they change in a round.", SECONDS, quick=0.3),
            ),
            rounds=5,
            place=True,
        ),
        Profile(
            "core",
            "core: the engine without sockets",
            "Whether a change costs more among many users, and what users and devices weigh.",
            (
                Option(
                    "users",
                    (10_000, 100_000, 1_000_000),
                    "How many; may be given several times.",
                    click.IntRange(1000),
                    quick=(2_000, 20_000),
                    multiple=True,
                ),
                Option("live_devices", 200_000, "At most as many as users.", click.IntRange(1000), quick=20_000),
            ),
        ),
    )
}
