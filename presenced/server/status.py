"""The server at this moment, as one value: metrics, the status page, `presencectl status`, `top` and `doctor` are all
made from it, so that they cannot contradict each other.

Taking it costs a few dozen reads of integers, whatever the number of links and users.
"""

from __future__ import annotations

import msgspec

from presenced.server.clustering.status import ClusterStatus


class Quantiles(msgspec.Struct, frozen=True):
    """A histogram of durations. `buckets[i]` counts those below 2**i microseconds and not in a bucket before."""

    count: int
    sum_us: int
    p50_us: float
    p99_us: float
    max_us: int
    buckets: list[int]


class SlowWatcher(msgspec.Struct, frozen=True):
    """A link that does not take what it is sent."""

    who: str
    """`user/device`, or the user alone."""
    role: str
    held: int
    """Users whose latest record it is owed."""
    for_ms: int


class MemoryStatus(msgspec.Struct, frozen=True):
    """Memory in use against the budget, and what was done for want of it."""

    used_bytes: int
    """Resident, and what the kernel holds for the process if that can be told."""
    budget_bytes: int
    """0 = none."""
    level: str
    """`ok`, `refusing` (new links and new state are), `ending` (also links that are owed most)."""
    since_wall_ms: int
    """When it went over the budget; 0 = it is within."""
    refused_links: int
    refused_hellos: int
    refused_requests: int
    ended_links: int

    @property
    def turned_away(self) -> int:
        """Links that were told `busy` for it."""
        return self.refused_links + self.refused_hellos + self.ended_links


class LogStatus(msgspec.Struct, frozen=True):
    """The write-ahead log and the snapshots."""

    directory: str
    durability: str
    """The policy: `always`, `interval`, `os`, `off`."""
    state: str
    """`ok`, `busy` (durable requests are refused for now), `full` (no space), `gone` (the directory is), `failed`,
    `closed`."""
    pending_facts: int
    pending_bytes: int
    log_bytes: int
    """Since the last snapshot."""
    snapshot_running: bool
    snapshot_wall_ms: int
    """When the newest snapshot was finished; 0 = there is none."""
    snapshot_bytes: int
    snapshot_took_ms: int
    snapshots: int
    """Finished since the start."""


class WebhookStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The delivery of events to a URL. Totals count from the start of the process."""

    receiver: str
    """Scheme, host and port of the URL; the rest may hold a secret."""
    state: str
    """`starting` (it does not follow yet), `delivering`, `failing` (the receiver takes nothing, and is tried now and
    then), `gone` (it said 410: nothing is sent until a reload), `taken` (another program follows under its name)."""
    behind: int
    """Events that are kept and not accepted yet; -1 = some of them are not kept any longer."""
    lag_ms: int
    """The age of the oldest of them; 0 = there is none."""
    held: int
    """Of them, read from the history."""
    under_way: int
    """Requests."""
    requests: int
    accepted: int
    """Events."""
    failures: dict[str, int]
    """Requests that came to nothing, by why."""
    dead_letters: int
    """Events that were given up."""
    gaps: int
    """Times that events were lost because they were not kept any longer."""
    accepted_wall_ms: int
    """When something was accepted last; 0 = never."""
    failing_wall_ms: int
    """Since when the receiver takes nothing; 0 = it does."""
    error: str
    """Why the last request that failed did; empty = none has."""
    error_wall_ms: int


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. Totals count from the start of the process."""

    # who and where
    version: str
    python: str
    loop: str
    pid: int
    state: str
    """`starting`, `serving`, `draining`, `stopped`."""
    wall_ms: int
    uptime_ms: int
    epoch: int
    version_counter: int
    """It runs with the clock (`Ledger.version`)."""
    listeners: list[str]
    """URLs, such as `presence://127.0.0.1:5250`."""
    config: str
    """The file that was read; empty = none."""
    dev: bool
    # presence
    users: int
    """Known, online or not."""
    users_asleep: int
    """Of the users, those who are kept as a few bytes."""
    users_online: int
    by_status: dict[str, int]
    """Users shown as chat, online, away, xa, dnd."""
    devices_connected: int
    devices_grace: int
    channels: int
    watches: int
    """User watched by link, summed."""
    blocks: int
    """Users whom others have blocked, summed over these."""
    hidings: int
    """Users from whom others hide, summed over these."""
    hidden_answers: int
    """Answers about users whom the asker may not see, or who were never seen."""
    view_checks: int = 0
    """Checksums of what they watch that clients were told."""
    view_checks_failed: int = 0
    """Of those, reported to be another than the client's."""
    view_differences: int = 0
    """Records told to clients that said what they had."""
    awaits: int = 0
    """Awaits under way."""
    awaits_met: int = 0
    """Awaits that were answered because it was so."""
    awaits_unmet: int = 0
    """Those whose time was over, or that were cancelled."""
    events_kept: int = 0
    """Events that followers can still be told."""
    event_bytes: int = 0
    """What they take, about."""
    event_followers: int = 0
    """Links that follow."""
    named_followers: int = 0
    """Followers whose positions are kept, whether a link follows or not."""
    lost_followers: list[str] = []
    """Of those, as `user/name`, the ones that have missed events that are not kept any longer."""
    contacts: int = 0
    """In the lists of all users together."""
    contact_requests: int = 0
    """Of somebody who asks to see somebody, and has no answer."""
    # links
    links_parked: int = 0
    """Lost links whose clients may take back what they had."""
    resumptions: dict[str, int] = {}
    """Tokens of lost links that clients have shown, by what came of it (`core.parts.resumptions.OUTCOMES`)."""
    resumptions_given_up: dict[str, int] = {}
    """Lost links of which nothing was kept to the end, by why."""
    links: int
    links_max: int
    links_by_role: dict[str, int]
    """Links by role: user, service, admin, `none` for links before their hello, `ending` for links after a goodbye."""
    accepted: int
    hellos: int
    goodbyes: dict[str, int]
    """Links ended or refused by the server, by code."""
    refused: dict[str, int]
    """Requests answered with an error, by code."""
    accept_failures: int
    """Times the system had nothing left for another connection."""
    handshakes_failed: int
    """TLS handshakes that came to nothing."""
    cut_off: int
    """TLS connections that there was no room for, not even to be told so."""
    slow_watchers: int
    slowest: list[SlowWatcher]
    throttled: int
    """Links not read for now, because they are over their rate."""
    # work
    frames_in: int
    changes: int
    """Records that were made anew and differed."""
    deliveries: int
    """Presence frames handed to links."""
    bytes_out: int
    turns: int
    stalls: int
    turn: Quantiles
    reaction: Quantiles
    """From the first read input of a turn to its last write."""
    lag: Quantiles
    """How late deadlines of the wheel were looked at."""
    commit: Quantiles
    """Commits to the log."""
    wheel: int
    """Entries in the wheel."""
    expired: int
    """Leases that ran out."""
    wall_jumps: int
    wall_jump_ms: int
    # the process
    rss_bytes: int
    memory: MemoryStatus
    cpu_ms: int
    descriptors: int
    descriptors_max: int
    gc_collections: int
    # the disk; None = state in memory only
    log: LogStatus | None
    reloads: int
    failed_reloads: int
    webhooks: WebhookStatus | None = None
    """None = none are configured."""
    cluster: ClusterStatus | None = None
    """None = the server is alone."""
    certificate_ends_ms: int = 0
    """Until when the certificate in force is valid, as wall time; 0 = there is no TLS."""
    log_lines_lost: int = 0
    """Lines of the log that were dropped, because nobody read them."""
