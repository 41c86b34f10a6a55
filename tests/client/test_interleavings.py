"""Every interleaving of a few steps of three services and two users' programs over one device, held against what a
person at the tabs would say (`tests.client.parties.Oracle`).

A state that was reached before is not gone on from again, and of parties that have done nothing so far only the first
is let do something. `make interleavings` goes to seven steps, which takes the better part of an hour.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.client.parties import PARTIES, SERVICES, USERS, Oracle, Stage

STEPS = int(os.environ.get("PRESENCED_STEPS", "0"))
"""Another number of steps than the suite takes."""

Act = Callable[[Stage, Oracle, int], None]
"""Takes the step of a party, on the stage and in the oracle."""


def attach(stage: Stage, oracle: Oracle, place: int) -> None:
    stage.backends[place].attach()
    oracle.opens(place)


def attach_cancelled(stage: Stage, oracle: Oracle, place: int) -> None:
    """The caller is gone before the reply is read."""
    backend, was_open = stage.backends[place], oracle.open[place]
    backend.cancel(backend.attach())
    if oracle.linked[place]:
        oracle.opens(place)
        if not was_open:
            oracle.closes(place, lost=True)


def attach_and_cut(stage: Stage, oracle: Oracle, place: int) -> None:
    """The server has it, and its reply is lost with the link."""
    backend, was_confirmed = stage.backends[place], oracle.confirmed[place]
    backend.attach()
    stage.world.turn()
    backend.cut()
    oracle.opens(place)
    oracle.confirmed[place] = was_confirmed
    oracle.asking[place] = True
    oracle.cut(place)


def detach(stage: Stage, oracle: Oracle, place: int, lost: bool = False) -> None:
    stage.backends[place].detach(lost=lost)
    oracle.closes(place, lost=lost)


def detach_lost(stage: Stage, oracle: Oracle, place: int) -> None:
    detach(stage, oracle, place, lost=True)


def detach_and_cut(stage: Stage, oracle: Oracle, place: int) -> None:
    """The server has it, and its reply is lost with the link."""
    stage.backends[place].detach(lost=False)
    stage.world.turn()
    stage.backends[place].cut()
    oracle.closes(place, lost=False)
    oracle.cut(place)
    oracle.closing[place] = False


def detach_swallowed(stage: Stage, oracle: Oracle, place: int) -> None:
    """It is lost on the way with the link."""
    stage.swallows = True
    stage.backends[place].detach(lost=False)
    stage.swallows = False
    stage.backends[place].cut()
    oracle.cut(place)
    oracle.closes(place, lost=False)


def cut(stage: Stage, oracle: Oracle, place: int) -> None:
    stage.backends[place].cut()
    oracle.cut(place)


def cut_unseen(stage: Stage, oracle: Oracle, place: int) -> None:
    """The server still believes in the link."""
    stage.backends[place].cut(server_too=False)
    oracle.cut(place, server_too=False)


def come_back(stage: Stage, oracle: Oracle, place: int) -> None:
    old = stage.backends[place].link
    stage.backends[place].connect()
    oracle.returns(place)
    if old is not None and old.open:
        # The server learns now that the old link is dead.
        old.lose()


def start(stage: Stage, oracle: Oracle, place: int) -> None:
    program = stage.programs[place - SERVICES]
    program.start()
    oracle.linked[place] = True
    oracle.opens(place)


def quit_(stage: Stage, oracle: Oracle, place: int) -> None:
    program = stage.programs[place - SERVICES]
    assert program.link is not None
    program.link.bye()
    program.link, program.runs = None, False
    oracle.closes(place, lost=False)
    oracle.linked[place] = False


def cut_program(stage: Stage, oracle: Oracle, place: int) -> None:
    program = stage.programs[place - SERVICES]
    program.cut()
    oracle.cut(place)


def program_comes_back(stage: Stage, oracle: Oracle, place: int) -> None:
    program = stage.programs[place - SERVICES]
    program.start(again=True)
    oracle.returns(place)
    oracle.linked[place] = oracle.open[place]


def restart(stage: Stage, oracle: Oracle, place: int) -> None:
    stage.restart()
    for party in range(PARTIES):
        oracle.cut(party)


def let_time_pass(stage: Stage, oracle: Oracle, place: int) -> None:
    stage.pass_time()
    oracle.passes()


def always(oracle: Oracle, place: int) -> bool:
    return True


def linked(oracle: Oracle, place: int) -> bool:
    return oracle.linked[place]


def is_open(oracle: Oracle, place: int) -> bool:
    return oracle.open[place]


def linked_and_open(oracle: Oracle, place: int) -> bool:
    return oracle.linked[place] and oracle.open[place]


Makes = Callable[[Oracle, int], bool]
OF_A_SERVICE: dict[Act, Makes] = {
    attach: always,
    attach_cancelled: always,
    attach_and_cut: linked,
    detach: is_open,
    detach_lost: is_open,
    detach_and_cut: linked_and_open,
    detach_swallowed: linked_and_open,
    cut: lambda oracle, place: oracle.linked[place] or oracle.stale[place],
    cut_unseen: linked,
    come_back: lambda oracle, place: not oracle.linked[place],
}
OF_A_PROGRAM: dict[Act, Makes] = {
    start: lambda oracle, place: not oracle.open[place],
    quit_: linked,
    cut_program: linked,
    program_comes_back: lambda oracle, place: oracle.open[place] and not oracle.linked[place],
}
OF_THE_SERVER: dict[Act, Makes] = {restart: always, let_time_pass: always}
"""What there is to do, and when it makes sense."""

Step = tuple[Act, int]


def steps_after(taken: tuple[Step, ...], oracle: Oracle, services: int, programs: int) -> Iterator[Step]:
    """What may come next: parties that are alike and have done nothing are let begin in order."""
    used = {place for act, place in taken if act not in OF_THE_SERVER}
    begun = sum(place < SERVICES for place in used)
    running = len(used) - begun
    for place in range(min(services, begun + 1)):
        yield from ((act, place) for act, makes_sense in OF_A_SERVICE.items() if makes_sense(oracle, place))
    for place in range(SERVICES, SERVICES + min(programs, running + 1)):
        yield from ((act, place) for act, makes_sense in OF_A_PROGRAM.items() if makes_sense(oracle, place))
    yield from ((act, -1) for act in OF_THE_SERVER)


def live(steps: tuple[Step, ...]) -> tuple[object, Oracle]:
    """Take these steps from the start and hold what came of the last one against the oracle; gives the state, in which
    parties that are alike are not told apart."""
    stage, oracle, before = Stage(), Oracle(), "offline"
    stage.world.checks = False
    for act, place in steps:
        before = stage.status
        stage.watcher.forget()
        act(stage, oracle, place)
        stage.exchange()
    stage.world.check()
    agree(stage, oracle, before, ", ".join(f"{act.__name__} {place}" for act, place in steps))
    keys = [f"{stage.key(place)} {oracle.key(place)}" for place in range(PARTIES)]
    return (oracle.state, *sorted(keys[:SERVICES]), *sorted(keys[SERVICES:])), oracle


def agree(stage: Stage, oracle: Oracle, before: str, after: str) -> None:
    state, place = stage.holder
    assert (state, place) == (oracle.state, oracle.holder), f"the server says {state} of {place} after: {after}"
    assert stage.status == ("offline" if oracle.state == "gone" else "online"), f"after: {after}"
    if stage.status == before:
        assert stage.watcher.pushes == [], f"watchers saw {stage.watcher.statuses('alice')} after: {after}"
    for number, backend in enumerate(stage.backends):
        believed = oracle.open[number] and oracle.confirmed[number]
        assert backend.attached == believed, f"service {number} says {backend.attached} after: {after}"
        if oracle.linked[number]:
            assert believed == (oracle.holder == number and oracle.state == "on"), after
            assert not backend.attachments.leaving and not backend.session._pending, after
    for number, program in enumerate(stage.programs, SERVICES):
        assert program.runs == oracle.open[number], f"program {number} runs: {program.runs} after: {after}"


@pytest.mark.parametrize(("services", "programs", "deep"), [(SERVICES, USERS, STEPS or 4), (2, 1, STEPS or 4)])
def test_whoever_does_what_in_whatever_order_it_is_as_a_person_at_the_tabs_would_say(
    services: int, programs: int, deep: int
) -> None:
    seen: set[object] = set()
    reached: list[tuple[tuple[Step, ...], Oracle]] = [((), Oracle())]
    for _ in range(deep):
        further: list[tuple[tuple[Step, ...], Oracle]] = []
        for taken, oracle in reached:
            for step in steps_after(taken, oracle, services, programs):
                state, now = live((*taken, step))
                if state not in seen:
                    seen.add(state)
                    further.append(((*taken, step), now))
        reached = further
    assert len(seen) > 500, "the steps lead nowhere"
