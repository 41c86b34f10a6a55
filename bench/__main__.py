"""`python -m bench PROFILE`: choose a profile, run it, print it. Exit codes: 0 clean, 1 void or failed, 2
usage.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import click

from bench import fanout, graph, heartbeat, idle
from bench.daemon import BenchError, take_cores
from bench.report import Result, machine_facts, print_result

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Measure the daemon beside a bare C loop: server CPU for each delivery, heartbeat and idle device.

    The servers are pinned to one core and the load to another. A run in which a delivery is lost, doubled or
    wrong ends with exit code 1.
    """


@main.command("fanout")
@click.option("--watchers", default=1000, type=click.IntRange(1), help="Links that watch all publishers.")
@click.option("--changes", default=200, type=click.IntRange(1), help="Changes of each publisher in a round.")
@click.option("--publishers", default=1, type=click.IntRange(1), help="Users who change at once.")
@click.option("--rounds", default=5, type=click.IntRange(1), help="Rounds on each server, alternating.")
@click.option("--warmup", default=20, type=click.IntRange(1), help="Changes before the first round.")
@as_json
def fanout_command(as_json: bool, **options: int) -> None:
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
@as_json
def graph_command(as_json: bool, **options: int) -> None:
    """What a delivery costs when everybody changes as fast as the server answers."""
    finish("graph: server CPU for each delivery", run_profile(graph.run, options), as_json=as_json)


def run_profile(run: Any, options: dict[str, int]) -> Result:
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
        print(f"bench: the run failed: {told} deliveries; its figures mean nothing", file=sys.stderr)
        sys.exit(1)


def _terminate(signal_number: int, _frame: object) -> None:
    sys.exit(128 + signal_number)  # unwinds the context managers, which end the servers


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    main()
