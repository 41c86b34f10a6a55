"""`python -m bench PROFILE`: choose a profile, run it, print it. Exit codes: 0 clean, 1 void or failed, 2
usage.
"""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from bench import channel, durable, fanout, heartbeat, idle, recovery, redis_graph, scale, service, snapshot
from bench.daemon import BenchError, take_cores
from bench.report import Result, machine_facts, print_result

place_option = click.option(
    "--place",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory on a disk for the data; bench/build or the temporary directory if it is not given.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Measure the daemon: CPU and memory beside a bare C loop, durable writes beside Redis, recovery, snapshots.

    The servers are pinned to one core and the load to another. A run in which a delivery is lost, doubled or
    wrong, or an acknowledged write is lost, ends with exit code 1.
    """


@main.command("fanout")
@click.option("--watchers", default=1000, type=click.IntRange(1), help="Links that watch all publishers.")
@click.option("--changes", default=200, type=click.IntRange(1), help="Changes of each publisher in a round.")
@click.option("--publishers", default=1, type=click.IntRange(1), help="Users who change at once.")
@click.option("--rounds", default=5, type=click.IntRange(1), help="Rounds on each server, alternating.")
@click.option("--warmup", default=20, type=click.IntRange(1), help="Changes before the first round.")
@click.option("--durable", is_flag=True, help="Give the daemon a data directory.")
@as_json
def fanout_command(as_json: bool, **options: Any) -> None:
    """What it costs to tell many watchers of a change, and how long they wait for it."""
    finish("fan-out: server CPU for each delivery", run_profile(fanout.run, options), as_json=as_json)


@main.command("idle")
@click.option("--links", default=10_000, type=click.IntRange(1), help="Devices, each of its own user.")
@as_json
def idle_command(as_json: bool, **options: int) -> None:
    """What a connected device that does nothing costs in resident memory."""
    finish("idle: the daemon's resident memory", run_profile(idle.run, options), as_json=as_json)


@main.command("heartbeat")
@click.option("--links", default=1000, type=click.IntRange(1), help="Links that send heartbeats.")
@click.option("--sweeps", default=20, type=click.IntRange(1), help="Heartbeats of each link in a round.")
@click.option("--rounds", default=5, type=click.IntRange(1), help="Rounds; their sweeps alternate.")
@as_json
def heartbeat_command(as_json: bool, **options: int) -> None:
    """What a heartbeat costs, beside a C loop that only reads it."""
    finish("heartbeat: server CPU for each", run_profile(heartbeat.run, options), as_json=as_json)


@main.command("graph")
@click.option("--users", default=900, type=click.IntRange(2), help="Users, each with one link.")
@click.option("--contacts", default=50, type=click.IntRange(1), help="Others that each user watches.")
@click.option("--changes", default=20, type=click.IntRange(1), help="Changes of each user in a round.")
@click.option("--rounds", default=3, type=click.IntRange(1), help="Counted rounds.")
@click.option("--seed", default=1, help="Chooses who watches whom.")
@click.option("--peer", type=click.Choice(["redis"]), help="Insist on this peer; Redis if it is installed.")
@click.option("--no-peer", is_flag=True, help="The daemon alone.")
@as_json
def graph_command(as_json: bool, peer: str | None, no_peer: bool, **options: Any) -> None:
    """What a delivery costs when everybody changes as fast as the server answers, beside Redis pub/sub."""
    if peer and no_peer:
        raise click.UsageError("--peer and --no-peer exclude each other")
    run = partial(redis_graph.run, insist=peer is not None, alone=no_peer)
    finish("graph: server CPU for each delivery", run_profile(run, options), as_json=as_json)


@main.command("durable")
@click.option("--writers", default=200, type=click.IntRange(1), help="Connections with one write outstanding each.")
@click.option("--seconds", default=5.0, type=click.FloatRange(0.05), help="Time of each server in a round.")
@click.option("--rounds", default=3, type=click.IntRange(1), help="Rounds; within each the servers alternate.")
@place_option
@as_json
def durable_command(as_json: bool, **options: Any) -> None:
    """What it costs to have a write on the disk before it is acknowledged, beside Redis. With --writers 1: what
    a single request waits."""
    finish("durable: acknowledged writes", run_profile(durable.run, options), as_json=as_json)


@main.command("recovery")
@click.option("--users", default=1_000_000, type=click.IntRange(1), help="Users, each with status, text and a device.")
@place_option
@as_json
def recovery_command(as_json: bool, **options: Any) -> None:
    """How long the daemon takes to start on a full data directory, from its log alone and from a snapshot."""
    finish("recovery: from start to ready", run_profile(recovery.run, options), as_json=as_json)


@main.command("snapshot")
@click.option("--users", default=1_000_000, type=click.IntRange(1), help="Users in the snapshot.")
@click.option("--changes-per-s", default=200, type=click.IntRange(1, 2000), help="Changes, sent on time.")
@click.option("--watchers", default=100, type=click.IntRange(1), help="Links that watch the one who changes.")
@click.option("--rounds", default=3, type=click.IntRange(1), help="Snapshots, with a quiet time before each.")
@click.option("--quiet-s", default=5.0, type=click.FloatRange(0.05), help="The quiet time.")
@place_option
@as_json
def snapshot_command(as_json: bool, **options: Any) -> None:
    """What watchers notice of a snapshot that is taken while they are served."""
    finish("snapshot: from change to watcher", run_profile(snapshot.run, options), as_json=as_json)


@main.command("service")
@click.option("--devices", default=10_000, type=click.IntRange(1), help="Devices, each of its own user.")
@click.option("--rounds", default=5, type=click.IntRange(1), help="Heartbeats of all devices that are counted.")
@as_json
def service_command(as_json: bool, **options: int) -> None:
    """What a device costs that a backend speaks for: attaching it, and its heartbeat."""
    finish("service: server CPU for each device", run_profile(service.run, options), as_json=as_json)


@main.command("channel")
@click.option("--members", default=50_000, type=click.IntRange(2_000), help="Members, each of whom watches the room.")
@click.option("--changes-per-s", default=1_000, type=click.IntRange(1), help="Members that change.")
@click.option("--seconds", default=5, type=click.IntRange(1), help="How long, in the room's own time.")
@as_json
def channel_command(as_json: bool, **options: int) -> None:
    """How long turns take, and how much each is told, in a very large room; without sockets."""
    finish("channel: a very large room", run_profile(channel.run, options), as_json=as_json)


@main.command("scale")
@click.option("--users", "users", multiple=True, default=(10_000, 100_000, 1_000_000), type=click.IntRange(1000))
@click.option("--live-devices", default=200_000, type=click.IntRange(1000), help="At most as many as users.")
@as_json
def scale_command(as_json: bool, **options: Any) -> None:
    """Whether a change costs more among many users, without sockets, and what users and devices weigh."""
    finish("scale: the engine without sockets", run_profile(scale.run, options), as_json=as_json)


def run_profile(run: Any, options: dict[str, Any]) -> Result:
    cores = take_cores()
    try:
        return {**run(cores=cores, **options), **machine_facts(cores)}
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)


def finish(title: str, result: Result, *, as_json: bool) -> None:
    """Print the result; exit 1 if any delivery in it was not as it should be."""
    print_result(title, result, as_json=as_json)
    faults = {key: result[key] for key in ("lost", "duplicated", "wrong") if result.get(key)}
    if faults:
        told = ", ".join(f"{count} {what}" for what, count in faults.items())
        print(f"bench: the run failed: {told}; its figures mean nothing", file=sys.stderr)
        sys.exit(1)


def _terminate(signal_number: int, _frame: object) -> None:
    sys.exit(128 + signal_number)  # unwinds the context managers, which end the servers


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    main()
