"""What one user may ask for: the credit is the user's, over all links and those that follow, and so is the share of a
turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import cast

from presenced.core.requests.costs import HELLO
from presenced.limits import FRAMES_PER_WAKE_MAX, SHARE_MS
from presenced.server.accounts import KEPT_MS, Account, Accounts
from presenced.server.conversation import Conversation
from presenced.server.intake import BACKLOG, RATE, READ
from presenced.server.server import Server
from presenced.server.transports.tcp import TcpTransport
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Get, Heartbeat, Ping
from tests.support.in_process import InProcess
from tests.support.wire import PONG, RECORDS, WELCOME, Wire, hello, opened

RATE_PER_S = 10
BURST = 4 * RATE_PER_S
HEARTBEAT = frame(encode(Heartbeat()))


def pings(count: int) -> bytes:
    return b"".join(frame(encode(Ping(number + 1))) for number in range(count))


def links_of(server: Server, user: str) -> list[Conversation]:
    return [link for link in server.links if link.session is not None and link.session.user_name == user]


def account_of(server: Server, user: str) -> Account:
    return server.links.accounts.by_user[user, False]


def without_time(server: Server) -> None:
    """Nothing takes any time, however busy the machine is."""
    server.links.shares.monotonic_ns = lambda: 0


def ticking(server: Server, step_ms: int) -> None:
    """Each look at the clock is so much later than the last: as if each frame took that long."""
    server.links.shares.monotonic_ns = itertools.count(0, step_ms * 1_000_000).__next__


def fed(link: Conversation, data: bytes, times: int) -> int:
    """Frames that are served of what arrives in so many reads. As in a loop, nothing arrives while it is not read."""
    before = link.links.stats.frames_in
    transport = cast(TcpTransport, link.transport)
    for _ in range(times):
        if link.intake.paused == READ:
            transport.data_received(data)
    return link.links.stats.frames_in - before


# --- the rate ---------------------------------------------------------------------------------------------------


def test_heartbeats_alone_in_their_reads_are_within_the_rate_as_all_frames_are() -> None:
    def flood(server: Server) -> tuple[int, int]:
        without_time(server)
        link = links_of(server, "eager")[0]
        account_of(server, "eager").rate = 1
        return fed(link, HEARTBEAT, 100 * BURST), link.intake.paused

    with InProcess(rate=RATE_PER_S) as running, opened(running.port, "eager"):
        served, paused = running.ask(flood)
        assert paused == RATE
        assert BURST - HELLO - 1 <= served <= BURST + RATE_PER_S


def test_heartbeats_use_nothing_up_where_there_is_no_rate() -> None:
    def flood(server: Server) -> tuple[int, int]:
        link = links_of(server, "eager")[0]
        return fed(link, HEARTBEAT, 2_000), link.intake.paused

    with InProcess(rate=0) as running, opened(running.port, "eager"):
        assert running.ask(flood) == (2_000, READ)


def test_a_user_who_comes_back_for_each_burst_gets_no_other_and_stands_in_nobodys_way() -> None:
    with InProcess(rate=RATE_PER_S) as running:
        with opened(running.port, "eager") as first:
            first.send(*[Ping(number + 1) for number in range(2 * BURST)])
            running.until(lambda server: account_of(server, "eager").credit < 0)
        running.until(lambda server: not links_of(server, "eager"))
        with Wire(running.port) as again, opened(running.port, "other") as other:
            again.send(hello("eager"), Ping(1))
            running.until(lambda server: bool(account_of(server, "eager").line) or bool(links_of(server, "eager")))
            other.send(Ping(1))
            assert other.next()[:2] == [PONG, 1]
            assert again.next()[0] == WELCOME
            assert again.next()[:2] == [PONG, 1]
        assert running.ask(lambda server: server.stats.frames_in) < 2 * BURST, "what was left unread is nobody's"


def test_a_hello_waits_for_credit_and_is_answered_when_there_is_some() -> None:
    def use_up(server: Server) -> None:
        account = server.links.enter_account(server.pacing.begin(), server.active.identify(hello("eager")))
        account.credit, account.rate = -5, 0

    def state(server: Server) -> tuple[int, int, int]:
        link = next(iter(account_of(server, "eager").line))
        return link.intake.paused, link.state, server.engine.leases.live

    def earn(server: Server) -> None:
        account_of(server, "eager").set_rate(0, BURST)

    with InProcess(rate=RATE_PER_S) as running, Wire(running.port) as link:
        running.ask(use_up)
        link.send(hello("eager"), Ping(1))
        running.until(lambda server: bool(account_of(server, "eager").line))
        assert running.ask(state) == (RATE, 0, 0), "it is not let in so far"
        assert link.quiet()
        running.ask(earn)
        assert [link.next()[0], link.next()[:2]] == [WELCOME, [PONG, 1]]


def test_links_of_one_user_share_the_credit_and_take_turns() -> None:
    with InProcess(rate=RATE_PER_S) as running:
        links = [opened(running.port, "eager", f"device{number}") for number in range(3)]

        def starve(server: Server) -> list[str]:
            without_time(server)
            mine = links_of(server, "eager")
            account = account_of(server, "eager")
            account.credit, account.rate = 0, 0
            for link in mine:
                link.receive(server.pacing.begin(), pings(20))
            served = []
            for _ in range(7):
                account.credit = 0
                server.links.shares._serve_line(server.pacing.begin(), account)
                served.append(next(iter(account.line)).device_id)
            return served

        served = running.ask(starve)
        # The one that is next each time: all three of them, again and again.
        assert served[:3] == served[3:6] and len(set(served[:3])) == 3
        for link in links:
            link.close()


def test_a_request_that_asks_for_much_costs_as_much_more() -> None:
    def credit(server: Server) -> int:
        return account_of(server, "eager").credit

    names = [f"user-{number}" for number in range(256)]
    with InProcess(rate=1_000) as running, opened(running.port, "eager") as link:
        before = running.ask(credit)
        link.send(Ping(1))
        link.until(PONG)
        assert before - running.ask(credit) == 1
        before = running.ask(credit)
        link.send(Get(2, names))
        link.until(RECORDS)
        spent = before - running.ask(credit)
        assert 1 + 256 // 32 <= spent <= 1 + 256 // 32 + 4, "eight for the names, and some for the bytes"
        before = running.ask(credit)
        link.send_payload(encode([7, 3, "x" * 60_000]))
        link.next()
        assert before - running.ask(credit) > 50, "what is refused was read all the same"


# --- accounts ---------------------------------------------------------------------------------------------------


def visit(accounts: Accounts, user: str, now_ms: int, spend: int = 0) -> Account:
    account = accounts.enter(user, is_service=False, rate=10, burst=40, now_ms=now_ms)
    account.credit -= spend
    accounts.leave(account, now_ms)
    return account


def test_an_account_outlives_its_last_link_while_it_has_something_to_earn_and_no_longer() -> None:
    accounts = Accounts()
    for number in range(1_000):
        visit(accounts, f"user{number}", 0)
    assert accounts.by_user == {} and accounts.next_ms is None
    first = visit(accounts, "eager", 0, spend=30)
    assert accounts.enter("eager", is_service=False, rate=10, burst=40, now_ms=1_000) is first
    assert first.credit == 20, "ten a second"
    first.credit -= 30
    accounts.leave(first, 1_000)
    now_ms = 1_000
    while accounts.by_user:
        assert accounts.next_ms is not None and accounts.next_ms - now_ms <= KEPT_MS
        now_ms = accounts.next_ms
        accounts.run_due(now_ms)
    assert now_ms >= 1_000 + 5_000, "fifty were missing"
    assert accounts.next_ms is None


def test_an_account_with_a_link_is_kept_and_one_made_anew_is_not_mistaken_for_the_old() -> None:
    accounts = Accounts()
    old = visit(accounts, "eager", 0, spend=10)
    again = accounts.enter("eager", is_service=False, rate=10, burst=40, now_ms=10)
    accounts.run_due(10 * KEPT_MS)
    assert again is old and list(accounts.by_user.values()) == [old]
    accounts.leave(again, 10 * KEPT_MS)
    assert accounts.by_user == {}
    assert accounts.enter("eager", is_service=True, rate=10, burst=40, now_ms=0) is not accounts.enter(
        "eager", is_service=False, rate=10, burst=40, now_ms=0
    )


def test_accounts_of_users_who_are_gone_leave_the_server_too() -> None:
    with InProcess(rate=1_000) as running:
        for number in range(20):
            with opened(running.port, f"user{number}") as link:
                link.send(Ping(1))
                link.until(PONG)
        running.until(lambda server: not server.links)

        def later(server: Server) -> int:
            server.links.accounts.run_due(server.pacing.begin() + KEPT_MS)
            return len(server.links.accounts.by_user)

        assert running.ask(later) == 0


# --- the share of a turn ------------------------------------------------------------------------------------------


def in_turns(
    running: InProcess, count: int, look: Callable[[Server, list[Conversation]], list[list[int]]]
) -> list[list[int]]:
    """What `look` sees of so many links of as many users that all have more frames than are served at once."""
    links = [opened(running.port, f"user{number}") for number in range(count)]

    def see(server: Server) -> list[list[int]]:
        mine = [link for number in range(count) for link in links_of(server, f"user{number}")]
        return look(server, mine)

    seen = running.ask(see)
    for link in links:
        link.close()
    return seen


def served_each(server: Server, links: list[Conversation]) -> list[int]:
    """Frames of each link that one look at the waiting links handles."""
    before = [link.intake.reader.pending_bytes for link in links]
    server.links.run_due(server.pacing.begin())
    size = len(pings(1))
    return [(had - link.intake.reader.pending_bytes) // size for had, link in zip(before, links, strict=True)]


def test_a_link_whose_frames_take_long_is_served_few_of_them_in_a_turn() -> None:
    def look(server: Server, links: list[Conversation]) -> list[list[int]]:
        without_time(server)
        links[0].receive(server.pacing.begin(), pings(4 * FRAMES_PER_WAKE_MAX))
        assert links[0].intake.paused == BACKLOG
        fast = served_each(server, links)
        ticking(server, 1)
        return [fast, served_each(server, links), served_each(server, links)]

    with InProcess(rate=0) as running:
        # The first of a turn is for nothing.
        assert in_turns(running, 1, look) == [[FRAMES_PER_WAKE_MAX], [1 + SHARE_MS], [1 + SHARE_MS]]


def test_links_that_are_left_over_are_the_first_in_the_next_turn() -> None:
    def look(server: Server, links: list[Conversation]) -> list[list[int]]:
        without_time(server)
        for link in links:
            link.receive(server.pacing.begin(), pings(10 * FRAMES_PER_WAKE_MAX))
        ticking(server, 1)
        return [served_each(server, links) for _ in range(4)]

    with InProcess(rate=0) as running:
        # Three of them with what belongs to it take the time of a turn; the others do not wait for their second.
        turns = in_turns(running, 4, look)
    at_once = sum(count > 0 for count in turns[0])
    assert 1 <= at_once < 4
    assert turns[0] == [1 + SHARE_MS] * at_once + [0] * (4 - at_once)
    order = [number for turn in turns for number in range(4) if turn[number]]
    assert sorted(order[:4]) == [0, 1, 2, 3], f"somebody was served twice before all were once: {turns}"


def test_links_of_one_user_have_one_share_between_them() -> None:
    with InProcess(rate=0) as running:
        links = [opened(running.port, "eager", f"device{number}") for number in range(4)]

        def look(server: Server) -> int:
            without_time(server)
            mine = links_of(server, "eager")
            for link in mine:
                link.receive(server.pacing.begin(), pings(2 * FRAMES_PER_WAKE_MAX))
            ticking(server, 1)
            return sum(served_each(server, mine))

        assert running.ask(look) <= SHARE_MS + 4, "one of each, and the share"
        for link in links:
            link.close()
