"""Profile `mixed`: what people do in an ordinary hour, all at once, at the rate at which it happens.

An open loop: logins, changes, pauses, lost links, queries and heartbeats come when they come, whatever the server does.
What it costs is told for 1,000 people who are online, and what they wait counts from the planned time.
"""

from __future__ import annotations

from contextlib import ExitStack

from bench.load.mix import PER_S, Mix, live, open_crowd, tell
from bench.machine.cores import Cores
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial


def run(
    *,
    users: int = 5000,
    contacts: int = 20,
    seconds: float = 60.0,
    speed: float = 1.0,
    heartbeat_s: float = 30.0,
    seed: int = 1,
    rounds: int = 3,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile: `rounds` times `seconds` of the mix of `users`, nine tenths of whom are online."""
    ours = ServerOutcome()
    outcome = Outcome("mixed", "mixed: everything at once", PER_S)
    outcome.options = {
        "users": users,
        "contacts": contacts,
        "seconds": seconds,
        "speed": speed,
        "heartbeat_s": heartbeat_s,
        "rounds": rounds,
        "seed": seed,
    }
    outcome.servers[OURS] = ours
    mix = Mix()
    with ExitStack() as stack:
        progress("connecting", 0, rounds)
        crowd = open_crowd(stack, cores, users, contacts, heartbeat_s, seed)
        ours.checks = crowd.checks
        with partial() as cut:
            for number in range(rounds):
                progress("rounds", number, rounds)
                live(crowd, ours, mix, speed, seconds, heartbeat_s, seed + number)
            progress("rounds", rounds, rounds)
            crowd.audit()
    outcome.interrupted = cut.happened
    tell(outcome, crowd, mix.sentence(speed, heartbeat_s))
    return outcome
