"""Profile `fanout`: publishers change, every watcher must be told, one step at a time.

With one publisher this is the star: the cost of a single notification. With several, all of them change at once
(the server stands still until the last change is in its sockets) and the step ends when every watcher has every
change: what coalescing saves.

The C limit runs at the same time on links of its own. After each step of the daemon its publishers send
exactly the bytes that the daemon delivered, so that both servers see the same machine to within milliseconds,
the same payload and the same generator. The peers take their turns within the same round, one after the other. The
ratio is taken for each round; the rounds' median is the result.

The generator polls without sleeping: one that sleeps makes the server pay for waking it, and the faster
server pays less often, because it keeps the generator busy. Real watchers are on other machines and cost no
wake-up.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import ExitStack

from bench.errors import BenchError
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place, scratch
from bench.peers.base import Peer
from bench.peers.broadcast import Aiohttp, Websockets
from bench.peers.limit import Limit
from bench.peers.lineup import Lineup, share_of
from bench.peers.presenced import Presenced, frames_by_user
from bench.peers.presenced_websocket import PresencedJson, PresencedMsgpack, PresencedWebSocket
from bench.peers.steps import SteppedServer
from bench.peers.storm import Storm, drain
from bench.results.outcome import LIMIT, OURS, Outcome, Progress, no_progress, partial

FIGURE = "server_cpu_us_per_delivery"

OUR_DOORS: tuple[type[PresencedWebSocket], ...] = (PresencedJson, PresencedMsgpack)
DOORS: dict[str, tuple[type[Peer], ...]] = {"tcp": (), "websocket": (*OUR_DOORS, Websockets, Aiohttp)}
"""Which servers take part beside ours over TCP, by `--door`."""


def run(
    *,
    watchers: int,
    changes: int,
    publishers: int,
    rounds: int,
    warmup: int,
    durable: bool = False,
    door: str = "tcp",
    tls: bool = False,
    cores: Cores,
    peers: Sequence[str] | None = (),
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. Faulty deliveries are in the outcome; `BenchError` means that there is none."""
    mode = "star" if publishers == 1 else "coalesced"
    options: dict[str, object] = {"watchers": watchers, "publishers": publishers, "changes": changes}
    options |= {"rounds": rounds, "warmup": warmup, "durable": durable, "door": door, "limit_mode": mode}
    outcome = Outcome("fanout", "fan-out: server CPU for each delivery", FIGURE, options)
    if tls and door != "tcp":
        raise BenchError("--tls is for --door tcp alone: leave one of them out")
    lineup = Lineup(outcome, cores, peers, progress, tls=tls)
    need_descriptors((len(DOORS[door]) + 2 + lineup.expected) * (watchers + publishers))
    changing = [f"p{index}" for index in range(publishers)]
    contacts = {f"w{index}": changing for index in range(watchers)}
    with ExitStack() as stack:
        options_of_ours: tuple[str, ...] = ()
        if durable:
            options_of_ours = ("--data-dir", str(scratch(stack, choose_place(), "fanout")))
        # Beside the doors the C loop would take the caches of ours over TCP alone, whose steps alternate with its own.
        # And it speaks no TLS.
        limit = (Limit(mode),) if door == "tcp" and not tls else ()
        beside = limit or tuple(kind() for kind in DOORS[door])
        own = (Presenced(options=options_of_ours), *beside)
        lineup.start(stack, own, [*changing, *contacts], contacts)
        servers = log_in(stack, lineup, contacts, changing)
        lineup.note_work(changes, "changes of each publisher")
        outcome.notes += notes(publishers)
        with partial() as cut:
            play(lineup, servers, changes=changes, rounds=rounds, warmup=warmup, progress=progress)
        outcome.interrupted = cut.happened
        for name, server in servers.items():
            if name in outcome.servers:
                server.tell(outcome.servers[name])
        compare_doors(outcome)
        if LIMIT in outcome.servers and not cut.happened:
            hold_limit(lineup, outcome)
    return outcome


def compare_doors(outcome: Outcome) -> None:
    """Say of each of our other doors how many times as much a delivery costs there, round by round."""
    tcp = outcome.servers[OURS].figures.get(FIGURE, [])
    for kind in OUR_DOORS:
        server = outcome.servers.get(kind.name)
        if server is not None and server.figures.get(FIGURE):
            pairs = zip(server.figures[FIGURE], tcp, strict=False)
            server.figures["cpu_ratio_to_tcp"] = [round(here / there, 3) for here, there in pairs]


def notes(publishers: int) -> list[str]:
    """How the waits were taken."""
    told = ["a closed loop: each step waits for the one before; waits include the generator's reading of all watchers"]
    if publishers > 1:
        told.append(
            "several publishers: the server is stopped (SIGSTOP) while the changes are sent, and the clock starts when "
            "it goes on (SIGCONT)"
        )
    return told


def log_in(
    stack: ExitStack, lineup: Lineup, contacts: dict[str, list[str]], changing: list[str]
) -> dict[str, SteppedServer]:
    """Every server with its publishers and watchers logged in and nothing left to read."""

    def connect(server: Peer) -> SteppedServer:
        storm = Storm(server, contacts, records=False)
        stack.callback(storm.close)
        storm.log_in(changing)
        storm.log_in(contacts)
        drain(server, list(storm.links.values()))
        publishers = [storm.links[user] for user in changing]
        watchers = [storm.links[user] for user in contacts]
        return SteppedServer(stack, server, publishers, watchers, spin=not lineup.cores.shared)

    return lineup.log_in(connect)


def play(
    lineup: Lineup, servers: dict[str, SteppedServer], *, changes: int, rounds: int, warmup: int, progress: Progress
) -> None:
    """A warm-up and `rounds` rounds on all servers in turn; stops at a fault of ours."""
    ours, limit = servers[OURS], servers.get(LIMIT)
    outcome = lineup.outcome
    for number in range(rounds + 1):
        steps = changes if number else warmup
        play_ours(ours, limit, steps, outcome if number else None)
        for peer in [server for server in lineup.servers if server.name not in (OURS, LIMIT)]:
            with lineup.excused(peer):
                play_peer(peer, servers[peer.name], steps, outcome if number else None)
        progress("round", number, rounds)
        if ours.checks.faults:
            break
        if number == 0:
            for server in servers.values():
                server.forget()


def play_ours(ours: SteppedServer, limit: SteppedServer | None, steps: int, outcome: Outcome | None) -> None:
    """A round of ours and of the C limit, whose steps alternate; to the first fault."""
    both = [server for server in (ours, limit) if server]
    gc.collect()
    gc.disable()
    try:
        for server in both:
            server.begin()
        for _ in range(steps):
            told = ours.run_step()
            if ours.checks.faults:
                break
            if limit is not None:
                assert isinstance(limit.peer, Limit)
                limit.peer.replayed = frames_by_user(told)
                limit.run_step()
        for server in both:
            server.end(outcome.servers[server.peer.name] if outcome else None)
    finally:
        gc.enable()


def play_peer(peer: Peer, server: SteppedServer, steps: int, outcome: Outcome | None) -> None:
    """A round of a peer: as many steps, or a share of them if each takes tens of times longer; to the first
    fault."""
    gc.collect()
    gc.disable()
    try:
        server.begin()
        for _ in range(share_of(peer, steps)):
            server.run_step()
            if server.checks.faults:
                break
        server.end(outcome.servers[peer.name] if outcome else None)
    finally:
        gc.enable()


def hold_limit(lineup: Lineup, outcome: Outcome) -> None:
    """The C loop has no checks of its own: what it passed on must be what ours told, and it must have dropped
    nothing."""
    ours, limit = outcome.servers[OURS].checks, outcome.servers[LIMIT].checks
    if ours.faults:
        return
    for server in lineup.servers:
        if isinstance(server, Limit):
            server.stop_and_count()
    if limit != ours:
        raise BenchError(f"the C server's run is void: presenced {ours}, C server {limit}")
