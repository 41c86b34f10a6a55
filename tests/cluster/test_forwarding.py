"""What becomes of links and of what they asked when homes move, do not answer, or are gone."""

from __future__ import annotations

from presenced.cluster.links.held_devices import LATE_MS
from presenced.cluster.links.refusals import FULL, GONE, NOT_ANSWERED, NOT_SENT
from presenced.cluster.links.waits import ATTACHED_MS, PATIENCE_MS
from presenced.core.model import CONNECTED, GRACE
from presenced.core.rights import rights_of
from presenced.wire.messages import (
    AddActivity,
    Attach,
    Await,
    Awaited,
    Beats,
    Bye,
    Detach,
    DeviceList,
    Done,
    Error,
    Get,
    GetDevices,
    Heartbeat,
    Kick,
    OwnState,
    Ping,
    Pong,
    Presence,
    Records,
    Revoke,
    SetStatus,
    Subscribe,
    Taken,
    Watch,
)
from tests.cluster.nodes import Cluster, Link, Node, cluster, device

MINUTE_MS = 60_000


def status(node: Node, user: str) -> str:
    known = node.engine.users.get(user)
    return known.record.status if known is not None else "unknown"


def errors(link: Link) -> list[tuple[int, str, str]]:
    return [(error.id, error.code, error.message) for error in link.took(Error)]


def nearly_away() -> tuple[Cluster, Link, Link]:
    """The link of somebody at another node, who has not touched the device for a while and would be away in half a
    minute; and one of a watcher."""
    nodes = cluster(ann=1, bob=1)
    first, second = nodes.nodes
    first.open("ann/robot", priority=-1)
    link, watcher = second.open("ann/phone", idle_ms=0), first.open("bob/desk")
    nodes.run()
    link.say(Heartbeat(0))
    watcher.say(Watch(1, ["ann"]))
    nodes.run()
    for idle_ms in range(30_000, 5 * MINUTE_MS, 30_000):
        nodes.advance(30_000)
        link.say(Heartbeat(idle_ms))
        watcher.say(Heartbeat(None))
        nodes.run()
    return nodes, link, watcher


class TestWhereAPersonIs:
    def test_a_new_user_is_decided_by_whoever_asks_for_them_first(self) -> None:
        nodes = cluster()
        nodes.home_by = lambda name, bidder: bidder
        first, second = nodes.nodes
        here, there = first.open("ann/laptop"), second.open("ann/phone")
        nodes.run()
        assert nodes.home_of("ann") == 1
        assert device(first, "ann/laptop").session is here.session
        assert device(first, "ann/phone").state == CONNECTED and there.session.device is None
        assert status(second, "ann") == "online"

    def test_a_person_who_is_nowhere_else_brings_their_home_along(self) -> None:
        nodes = cluster(ann=1)
        nodes.hands_over = True
        first, second = nodes.nodes
        link = second.open("ann/phone", sync=True)
        link.say(SetStatus(1, "dnd"), Get(2, ["ann"]))
        nodes.run()
        assert nodes.home_of("ann") == 2
        assert link.session.device is device(second, "ann/phone")
        assert [record.status for record in link.took(Records)[-1].records] == ["dnd"]
        assert link.took(Done) and link.took(OwnState)
        assert not len(second.forwarding.relays) and not len(first.forwarding.remote_links)  # type: ignore[union-attr]

    def test_a_person_who_is_connected_at_home_stays_there(self) -> None:
        nodes = cluster(ann=1)
        nodes.hands_over = True
        first, second = nodes.nodes
        first.open("ann/laptop")
        nodes.run()
        phone = second.open("ann/phone")
        nodes.run()
        assert nodes.home_of("ann") == 1 and device(first, "ann/phone").state == CONNECTED
        phone.lose()
        nodes.run()
        assert device(first, "ann/phone").state == GRACE
        nodes.advance(16_000)
        assert status(second, "ann") == "online"

    def test_who_waits_for_a_kind_of_device_goes_on_waiting_when_its_user_changes_homes(self) -> None:
        nodes = cluster(ann=1)
        nodes.hands_over = True
        first, second = nodes.nodes
        link = first.open("ann/phone", kind="phone")
        nodes.run()
        apps = [node.open("app", role="service") for node in (first, second)]
        for app in apps:
            app.say(Await(1, "ann", MINUTE_MS, [], ["phone"], 10_000))
        nodes.run()
        nodes.advance(3_000)
        link.lose()
        nodes.run()
        nodes.advance(3_000)
        second.open("ann/phone", kind="phone")
        nodes.run()
        assert nodes.home_of("ann") == 2
        nodes.advance(3_000)
        assert not any(app.took(Awaited) for app in apps)
        nodes.advance(1_100)
        assert [[told.met for told in app.took(Awaited)] for app in apps] == [[True], [True]]

    def test_a_hello_that_was_held_up_takes_the_device_from_nobody_who_came_later(self) -> None:
        """The log could not be reached, and the client has come to another node meanwhile."""
        for home in (1, 3):
            nodes = cluster(3, ann=home)
            first, second, third = nodes.nodes
            desk = nodes.nodes[home - 1].open("ann/desk")
            old = second.open("ann/phone", instance=7, as_was=True, only_free=True)
            nodes.stand(LATE_MS + 1)
            new = third.open("ann/phone", instance=7, as_was=True, only_free=True)
            third.turn()
            nodes.read(first)
            first.turn()
            nodes.run()
            assert (old.ended, new.ended) == ("replaced", None), home
            assert device(third, "ann/phone").state == CONNECTED and desk.is_open
            new.say(SetStatus(1, "dnd"))
            nodes.run()
            assert new.took(Done) and status(first, "ann") == "dnd"
            new.lose()
            nodes.run()
            assert device(nodes.nodes[home - 1], "ann/phone").state == GRACE, "nobody else holds it"

    def test_a_hello_that_is_held_up_and_came_later_has_the_device(self) -> None:
        nodes = cluster(2, ann=1)
        first, second = nodes.nodes
        old = first.open("ann/phone")
        nodes.run()
        nodes.stand(5)
        new = second.open("ann/phone")
        nodes.stand(LATE_MS + 1)
        nodes.run()
        assert (old.ended, new.ended) == ("replaced", None)
        assert device(first, "ann/phone").state == CONNECTED

    def test_of_two_that_are_on_their_way_the_log_knows_who_came_later(self) -> None:
        """The clocks of their nodes need not."""
        nodes = cluster(3, ann=1)
        first, second, third = nodes.nodes
        new = second.open("ann/phone")
        nodes.stand(LATE_MS)
        old = third.open("ann/phone")
        third.turn()
        nodes.run()
        assert (old.ended, new.ended) == ("replaced", None)

    def test_a_device_of_a_service_is_taken_by_a_hello_that_was_held_up(self) -> None:
        nodes = cluster(2, ann=1)
        first, second = nodes.nodes
        link = second.open("ann/web")
        nodes.stand(LATE_MS + 1)
        app = first.open("app", role="service")
        app.say(Attach(1, 5, "ann", "web"))
        nodes.run()
        assert [(taken.ref, taken.why) for taken in app.took(Taken)] == [(5, "replaced")] and link.is_open

    def test_who_is_refused_is_told_by_a_goodbye(self) -> None:
        nodes = cluster(ann=1)
        first, second = nodes.nodes
        first.open("ann/laptop", instance=1)
        nodes.run()
        link = second.open("ann/laptop", instance=2, only_free=True)
        assert link.is_open
        nodes.run()
        assert link.ended == "replaced" and not len(second.forwarding.relays)  # type: ignore[union-attr]


class TestLeases:
    def test_the_node_of_the_link_keeps_the_lease(self) -> None:
        nodes = cluster(ann=1)
        first, second = nodes.nodes
        link = second.open("ann/phone")
        nodes.run()
        for _ in range(8):
            nodes.advance(29_000)
            link.say(Ping(link.next_id()))
            nodes.run()
        # Nothing of that went to the home.
        assert len(link.took(Pong)) == 8 and device(first, "ann/phone").state == CONNECTED
        nodes.advance(80_000)
        assert link.ended == "lease_expired" and device(first, "ann/phone").state == GRACE
        # It was heard last when it spoke last.
        assert device(first, "ann/phone").heard_ms > first.now_ms - 90_000

    def test_a_silent_link_ends_by_its_hello_however_long_its_user_had_no_home(self) -> None:
        nodes = cluster()
        nodes.home_by = lambda name, bidder: bidder
        [first, _] = nodes.nodes
        link = first.open("ann/laptop")
        # The log takes its time.
        for node in nodes.nodes:
            node.now_ms += 4_000
        nodes.run()
        nodes.check()
        nodes.advance(first.engine.policy.timeout_ms - 3_000)
        assert link.ended == "lease_expired"

    def test_a_lost_link_was_seen_last_when_it_spoke_last(self) -> None:
        nodes = cluster(ann=1)
        first, second = nodes.nodes
        link = second.open("ann/phone")
        nodes.run()
        nodes.advance(3_000)
        # This is answered by the node of the link, and the home does not hear of it.
        link.say(Get(1, ["ann"]))
        nodes.run()
        spoken_ms = second.engine.clock.wall_ms(second.now_ms)
        nodes.advance(2_000)
        link.lose()
        nodes.run()
        nodes.advance(20_000)
        for node in (first, second):
            assert node.engine.users["ann"].record.last_seen_ms == spoken_ms

    def test_heartbeats_are_told_together_unless_they_are_news(self) -> None:
        nodes = cluster(ann=1)
        first, second = nodes.nodes
        link = second.open("ann/phone", idle_ms=0)
        nodes.run()
        nodes.advance(1_000)
        link.say(Heartbeat(100))
        sent = len(nodes.log)
        nodes.run()
        assert device(first, "ann/phone").active_ms < first.now_ms - 100
        nodes.advance(10_000)
        assert device(first, "ann/phone").active_ms == first.now_ms - 10_100
        assert device(first, "ann/phone").heard_ms == first.now_ms - 10_000
        assert len(nodes.log) > sent
        link.say(Heartbeat(6 * MINUTE_MS))
        nodes.run()
        # An earlier input is known.
        assert status(second, "ann") == "online"
        nodes.advance(6 * MINUTE_MS - 11_000)
        assert status(second, "ann") == "away" or link.ended
        link = second.open("ann/phone", idle_ms=0)
        nodes.run()
        nodes.advance(1)
        assert status(second, "ann") == "online"

    def test_input_after_a_pause_is_told_at_once(self) -> None:
        nodes = cluster(ann=1)
        second = nodes.nodes[1]
        link = second.open("ann/phone", idle_ms=6 * MINUTE_MS)
        nodes.run()
        assert status(second, "ann") == "away"
        nodes.advance(20_000)
        link.say(Heartbeat(0))
        nodes.run()
        assert status(second, "ann") == "online"

    def test_input_keeps_a_device_from_being_away_though_heartbeats_are_told_together(self) -> None:
        for wait_ms in (18_000, 20_500, 29_000):
            nodes, link, watcher = nearly_away()
            nodes.advance(wait_ms)
            link.say(Heartbeat(1_000))
            nodes.run()
            nodes.advance(30_000)
            assert not watcher.took(Presence), wait_ms

    def test_what_is_heard_while_the_log_is_away_is_told_as_it_is_when_it_is_back(self) -> None:
        nodes, link, watcher = nearly_away()
        first, second = nodes.nodes
        assert second.forwarding is not None
        link.say(Heartbeat(0))
        nodes.run()
        second.forwarding.note_away(True, second.now_ms)
        for idle_ms in range(0, 6 * MINUTE_MS, 30_000):
            nodes.stand(30_000)
            link.say(Heartbeat(idle_ms))
            watcher.say(Heartbeat(None))
            second.turn()
        first.turn()
        second.forwarding.note_away(False, second.now_ms)
        nodes.run()
        nodes.advance(1)
        assert [told.record.status for told in watcher.took(Presence)] == ["away"]

    def test_who_comes_while_the_log_is_away_is_as_idle_as_they_are_when_it_is_back(self) -> None:
        nodes = cluster(ann=1, bob=1)
        first, second = nodes.nodes
        assert second.forwarding is not None
        first.open("ann/robot", priority=-1)
        nodes.run()
        second.forwarding.note_away(True, second.now_ms)
        link = second.open("ann/phone", idle_ms=0)
        for idle_ms in range(30_000, 6 * MINUTE_MS, 30_000):
            second.turn()
            nodes.stand(30_000)
            link.say(Heartbeat(idle_ms))
        second.forwarding.note_away(False, second.now_ms)
        nodes.run()
        assert device(first, "ann/phone").state == CONNECTED and status(second, "ann") == "away"

    def test_whoever_waits_for_a_home_comes_as_idle_as_they_are_by_then(self) -> None:
        nodes = cluster(2)
        nodes.home_by = lambda name, bidder: bidder
        second = nodes.nodes[1]
        link = second.open("ann/phone", idle_ms=0)
        for idle_ms in range(30_000, 6 * MINUTE_MS, 30_000):
            nodes.stand(30_000)
            link.say(Heartbeat(idle_ms))
        nodes.run()
        assert nodes.home_of("ann") == 2 and status(second, "ann") == "away"

    def test_what_was_heard_last_counts_in_the_grace(self) -> None:
        nodes, link, watcher = nearly_away()
        nodes.advance(17_000)
        link.say(Heartbeat(0))
        nodes.run()
        link.lose()
        nodes.run()
        nodes.advance(14_000)
        assert not watcher.took(Presence)
        nodes.advance(2_000)
        assert [told.record.status for told in watcher.took(Presence)] == ["offline"]


class TestAnswers:
    def test_a_home_that_does_not_answer_is_not_waited_for(self) -> None:
        nodes = cluster(ann=1)
        first, second = nodes.nodes
        link = second.open("ann/phone")
        nodes.run()
        first.is_gone = True
        link.say(SetStatus(1, "dnd"), Get(2, ["ann"]), SetStatus(3, "away"), Ping(4))
        nodes.run()
        assert [pong.id for pong in link.took(Pong)] == [4] and not errors(link)
        nodes.advance(PATIENCE_MS + 1)
        # The third has waited for the first as the second has, which needs nobody.
        assert errors(link) == [(1, "log_busy", NOT_ANSWERED), (3, "log_busy", NOT_SENT)]
        assert [records.id for records in link.took(Records)] == [2]
        assert link.session.unanswered == 0
        link.say(Get(5, ["ann"]))
        nodes.run()
        assert link.took(Records)[-1].id == 5
        first.is_gone = False
        nodes.run()
        # What was given up has been applied all the same, and its answer is not told any more.
        assert status(first, "ann") == "dnd" and not link.took(Done)

    def test_whoever_comes_back_while_the_home_is_dead_is_answered_what_needs_nobody(self) -> None:
        """The device is attached once the home answers, or has an heir."""
        nodes = cluster(ann=1, bob=2)
        first, second = nodes.nodes
        first.is_gone = True
        link = second.open("ann/phone")
        link.say(Get(1, ["ann", "bob"]), Watch(2, ["bob"]), SetStatus(3, "dnd"))
        nodes.run()
        assert not link.took(Records)
        nodes.advance(ATTACHED_MS + 1)
        assert [records.id for records in link.took(Records)] == [1, 2] and not errors(link)
        first.is_gone = False
        nodes.run()
        assert [done.id for done in link.took(Done)] == [3] and status(first, "ann") == "dnd"
        assert link.session.unanswered == 0

    def test_whoever_is_sent_back_after_having_waited_too_long_is_attached_all_the_same(self) -> None:
        """A home that is behind does not know yet that it is one."""
        nodes = cluster(ann=1, bob=2)
        first, second = nodes.nodes
        link = second.open("ann/phone")
        second.turn()
        nodes.stand(ATTACHED_MS + 1)
        second.turn()
        first.homes["ann"] = 2
        nodes.read(first)
        first.turn()
        first.homes["ann"] = 1
        nodes.run()
        assert status(first, "ann") == status(second, "ann") == "online"
        link.say(SetStatus(1, "dnd"))
        nodes.run()
        assert status(second, "ann") == "dnd" and link.is_open

    def test_a_link_that_a_node_does_not_know_is_opened_there_anew(self) -> None:
        nodes = cluster(ann=1, bob=2)
        first, second = nodes.nodes
        app = second.open("app", role="service")
        app.say(SetStatus(1, "dnd", user="ann"))
        nodes.run()
        remote = first.forwarding.remote_links  # type: ignore[union-attr]
        [known] = remote._by_node[2].values()
        remote.forget(known)
        app.say(SetStatus(2, "away", user="ann"), SetStatus(3, "xa", user="ann"))
        nodes.run()
        assert [done.id for done in app.took(Done)] == [1, 2, 3] and len(remote) == 1

    def test_a_bug_ends_the_link_alone_whose_request_has_waited(self) -> None:
        nodes = cluster(ann=1, bob=2)
        second = nodes.nodes[1]
        app, other = second.open("app", role="service"), second.open("other", role="service")
        nodes.run()
        for link in (app, other):
            link.say(SetStatus(1, "dnd", user="ann"), Get(2, ["ann"]))
        asked, sessions = second.requests.executor._requests, [app.session]

        class Broken:
            def handle(self, engine, session, now_ms, message):  # type: ignore[no-untyped-def]
                if session in sessions:
                    raise ZeroDivisionError
                asked.handle(engine, session, now_ms, message)

        second.requests.executor._requests = Broken()
        nodes.run()
        assert app.ended == "link_failed" and other.is_open and other.took(Records)
        assert second.forwarding.relays.size == 0  # type: ignore[union-attr]

    def test_nothing_is_sent_while_too_much_waits_for_the_engine(self) -> None:
        nodes = cluster(ann=1, bob=1)
        second = nodes.nodes[1]
        app = second.open("app", role="service")
        app.say(Attach(1, 5, "ann", "web"))
        nodes.run()
        second.is_full = True
        app.say(SetStatus(2, "dnd", user="ann"), Attach(3, 6, "bob", "web"), Get(4, ["ann"]), Detach(5, 5))
        second.turn()
        assert second.outgoing == [] and second.forwarding.relays.size == 0  # type: ignore[union-attr]
        assert errors(app) == [(number, "log_busy", NOT_SENT) for number in (2, 3, 5)]
        assert [records.id for records in app.took(Records)] == [4], "what needs nobody is answered"
        second.is_full = False
        app.say(SetStatus(6, "dnd", user="ann"))
        nodes.run()
        assert [done.id for done in app.took(Done)] == [1, 6] and status(second, "ann") == "dnd"

    def test_more_than_may_wait_is_refused(self) -> None:
        nodes = cluster(ann=1)
        first, second = nodes.nodes
        link = second.open("ann/phone")
        nodes.run()
        first.is_gone = True
        for number in range(1, 401):
            link.say(AddActivity(number, "typed", payload="x" * 4_000))
        nodes.run()
        assert errors(link) and {message for _, _, message in errors(link)} == {FULL}
        assert second.forwarding.relays.size <= 1 << 20  # type: ignore[union-attr]
        nodes.advance(PATIENCE_MS + 1)
        assert sorted(number for number, _, _ in errors(link)) == list(range(1, 401))
        assert second.forwarding.relays.size == 0  # type: ignore[union-attr]

    def test_bye_waits_for_what_was_asked_before(self) -> None:
        nodes = cluster(ann=1)
        first, second = nodes.nodes
        link = second.open("ann/phone")
        link.say(SetStatus(1, "dnd"), GetDevices(2), Bye())
        assert link.is_open
        nodes.run()
        assert [done.id for done in link.took(Done)] == [1] and link.took(DeviceList)
        assert link.ended == "" and status(second, "ann") == "offline"

    def test_a_user_s_link_makes_nobody_known(self) -> None:
        nodes = cluster(ann=1)
        link = nodes.nodes[1].open("ann/phone")
        nodes.run()
        link.say(SetStatus(1, "dnd", user="stranger"), GetDevices(2, "stranger"))
        nodes.run()
        assert [code for _, code, _ in errors(link)] == ["forbidden", "forbidden"]
        assert nodes.home_of("stranger") == 0

    def test_own_state_that_a_link_does_not_take_comes_once_it_reads(self) -> None:
        nodes = cluster(ann=1)
        first, second = nodes.nodes
        link = second.open("ann/phone", sync=True)
        nodes.run()
        second.engine.outboxes.pause(link.session, second.now_ms)
        before = len(link.took(OwnState))
        for number, text in enumerate(("one", "two", "three"), 1):
            link.say(SetStatus(number, text=text))
            nodes.run()
        assert len(link.took(OwnState)) == before
        second.engine.resume(link.session)
        nodes.run()
        assert [state.text for state in link.took(OwnState)[before:]] == ["three"]


class TestServices:
    def test_a_ref_stands_for_a_device_of_another_home(self) -> None:
        nodes = cluster(3, ann=1, bob=2)
        first, second, third = nodes.nodes
        app = third.open("app", role="service")
        app.say(Attach(1, 7, "ann", "tab"))
        nodes.run()
        app.say(Attach(2, 7, "bob", "tab"))
        nodes.run()
        assert (status(third, "ann"), status(third, "bob")) == ("offline", "online")
        app.say(Attach(3, 7, "ann", ""), Beats([7, 0]))
        nodes.run()
        # What is refused has let go of nothing.
        assert errors(app)[-1][:2] == (3, "bad_name") and status(third, "bob") == "online"
        app.lose()
        nodes.run()
        assert device(second, "bob/tab").state == GRACE

    def test_a_kick_reaches_links_wherever_they_are(self) -> None:
        nodes = cluster(3, ann=1)
        first, second, third = nodes.nodes
        phone, app, admin = second.open("ann/phone"), second.open("app", role="service"), third.open("x", role="admin")
        nodes.run()
        app.say(Attach(1, 1, "ann", "tab"))
        nodes.run()
        admin.say(Kick(1, "app"))
        nodes.run()
        assert app.ended == "kicked" and device(first, "ann/tab").state == GRACE
        admin.say(Kick(2, "ann"))
        nodes.run()
        assert phone.ended == "kicked" and status(third, "ann") == "offline"

    def test_a_revocation_ends_links_of_older_tokens_everywhere(self) -> None:
        nodes = cluster(ann=1)
        first, second = nodes.nodes
        phone = second.open("ann/phone", issued_ms=5_000)
        later = second.open("ann/laptop", issued_ms=9_000)
        admin = second.open("x", role="admin")
        nodes.run()
        admin.say(Revoke(1, "ann", 8_000))
        nodes.run()
        assert phone.ended == "token_revoked" and later.is_open
        assert device(first, "ann/phone").state == GRACE

    def test_rights_of_a_token_hold_at_every_home(self) -> None:
        nodes = cluster(ann=1, bob=1)
        first, second = nodes.nodes
        app = second.open("app", role="service")
        app.say(Attach(1, 1, "ann", "tab"), Attach(2, 2, "bob", "tab"))
        nodes.run()
        rights = rights_of({"act": ["bob"]}, "app", "service")
        second.engine.sessions.renew(second.now_ms, app.session, 0, rights)
        relay = second.forwarding.relays.get(app.session)  # type: ignore[union-attr]
        assert relay is not None
        second.forwarding.relays.send_renewed(relay)  # type: ignore[union-attr]
        nodes.run()
        assert app.took(Taken) == [Taken(1, "lost")]
        assert device(first, "ann/tab").state == GRACE and device(first, "bob/tab").state == CONNECTED
        app.say(SetStatus(3, "dnd", user="ann"), SetStatus(4, "dnd", user="bob"))
        nodes.run()
        assert errors(app)[-1][:2] == (3, "forbidden") and status(second, "bob") == "dnd"

    def test_a_service_with_a_device_of_its_own_need_not_name_its_user(self) -> None:
        nodes = cluster(bot=1, ann=1)
        nodes.registrar = 1
        first, second = nodes.nodes
        bot = second.open("bot/main", role="service")
        nodes.run()
        bot.say(Subscribe(1, "ann"), SetStatus(2, "dnd"), GetDevices(3))
        nodes.run()
        assert not errors(bot) and status(second, "bot") == "dnd"
        app = second.open("app", role="service")
        app.say(SetStatus(1, "dnd"))
        nodes.run()
        assert errors(app)[0][:2] == (1, "no_device") and nodes.home_of("app") == 0


class TestNodesThatAreGone:
    def test_links_of_the_node_are_lost(self) -> None:
        nodes = cluster(3, ann=1)
        first, second, third = nodes.nodes
        second.open("ann/phone")
        nodes.run()
        nodes.kill(second, lambda name: 1)
        nodes.run()
        assert device(first, "ann/phone").state == GRACE and status(third, "ann") == "online"
        nodes.advance(16_000)
        assert status(third, "ann") == "offline"

    def test_links_go_on_at_the_heir(self) -> None:
        nodes = cluster(3, ann=1, bob=1, cat=1)
        first, second, third = nodes.nodes
        phone, tablet = second.open("ann/phone", sync=True), third.open("ann/tablet")
        app = second.open("app", role="service", instance=4)
        watcher = third.open("w", role="service")
        nodes.run()
        app.say(Attach(1, 1, "bob", "tab"), Attach(2, 2, "cat", "tab"), Attach(3, 3, "ann", "tab"))
        phone.say(SetStatus(1, "dnd"))
        nodes.run()
        phone.say(AddActivity(2, "typed"), GetDevices(3))
        nodes.kill(first, lambda name: 3 if name == "bob" else 2)
        watched = {name: status(third, name) for name in ("ann", "bob", "cat")}
        nodes.run()
        # What may have been applied is not asked again, what only asks is.
        assert (2, "log_busy", GONE) in errors(phone) and phone.took(DeviceList)[-1].id == 3
        assert device(second, "ann/phone").session is phone.session
        assert device(second, "ann/tablet").state == CONNECTED and tablet.is_open
        assert device(third, "bob/tab").state == device(second, "cat/tab").state == CONNECTED
        assert {name: status(third, name) for name in watched} == watched
        nodes.advance(20_000)
        app.say(Beats([1, 0, 2, 0, 3, 0]))
        phone.say(SetStatus(4, "away"))
        nodes.run()
        assert not app.took(Taken) and status(third, "ann") == "away"
        assert watcher.is_open

    def test_the_later_hello_has_the_device(self) -> None:
        nodes = cluster(3, ann=1)
        first, second, third = nodes.nodes
        old = second.open("ann/phone", instance=7)
        nodes.run()
        # The client goes elsewhere, and the home is gone before the node of its first link hears of that.
        new = third.open("ann/phone", instance=7)
        third.turn()
        nodes.read(first)
        first.engine.obligations.take_closing()
        first.turn()
        nodes.read(third)
        assert device(first, "ann/phone").session is not None and old.is_open and new.is_open
        nodes.kill(first, lambda name: 3)
        # The first link comes back to the device as well, and behind the other.
        nodes.read(third)
        third.turn()
        nodes.read(second)
        second.turn()
        nodes.run()
        assert (old.ended, new.ended) == ("replaced", None)
        assert device(third, "ann/phone").session is new.session

    def test_the_earlier_hello_loses_the_device_that_it_comes_back_to_first(self) -> None:
        nodes = cluster(4, ann=1)
        first, second, third, fourth = nodes.nodes
        old = second.open("ann/phone", instance=7)
        nodes.run()
        new = third.open("ann/phone", instance=7)
        third.turn()
        nodes.read(first)
        first.engine.obligations.take_closing()
        first.turn()
        nodes.read(third)
        nodes.kill(first, lambda name: 4)
        for node in (second, third):
            # The first link is the first to come back.
            nodes.read(node)
            node.turn()
        nodes.run()
        assert (old.ended, new.ended) == ("replaced", None)
        there = device(fourth, "ann/phone")
        assert there.state == CONNECTED and third.forwarding.relays.get(new.session) is not None  # type: ignore
