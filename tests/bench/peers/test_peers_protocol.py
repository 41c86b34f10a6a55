"""What each peer's protocol looks like, by hand, and the checks: without any process."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from bench.peers.base import GHOST, WRONG, Delivery, Peer, PeerFailed, PeerLink, show_of
from bench.peers.ejabberd import Ejabberd, exported
from bench.peers.ledger import Ledger, check_records
from bench.peers.mosquitto import GONE, Mosquitto, packet, text, topic
from bench.peers.nats import Nats
from bench.peers.presenced import Presenced, text_of
from bench.peers.prosody import Prosody
from bench.peers.redis import Redis
from bench.peers.xmpp import rosters
from bench.results.outcome import Checks
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Done, Presence, Record

Stream = Callable[[Peer, str, int], bytes]


class FakeLink:
    """What a peer needs of a link to read from it."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.rest = b""


def link_of(user: str) -> PeerLink:
    return FakeLink(user)  # type: ignore[return-value]


def told_by_presenced(peer: Peer, user: str, number: int) -> bytes:
    status = show_of(number).decode()
    return frame(encode(Presence(Record(user, status, text_of(number), "", 1, 0, "bench", 1000 + number))))  # type: ignore[arg-type]


def told_by_redis(peer: Peer, user: str, number: int) -> bytes:
    payload = peer.payload(number)
    head = b">3\r\n$7\r\nmessage\r\n$%d\r\nuser:%s\r\n" % (len(user) + 5, user.encode())
    return head + b"$%d\r\n%s\r\n" % (len(payload), payload)


def told_by_nats(peer: Peer, user: str, number: int) -> bytes:
    payload = peer.payload(number)
    return b"MSG presence.user.%s 12 %d\r\n%s\r\n" % (user.encode(), len(payload), payload)


def told_by_mosquitto(peer: Peer, user: str, number: int) -> bytes:
    return packet(0x30, text(topic(user)) + peer.payload(number))


def told_by_xmpp(peer: Peer, user: str, number: int) -> bytes:
    own = peer.change(user, number).replace(b"<presence>", b"", 1)
    return b"<presence xml:lang='en' to='ann@localhost/bench' from='%s@localhost/bench'>%s" % (user.encode(), own)


ALL: list[tuple[type[Peer], Stream, bytes]] = [
    (Presenced, told_by_presenced, frame(encode(Done(1 << 24, 7)))),
    (Redis, told_by_redis, b"+OK\r\n:12\r\n"),
    (Nats, told_by_nats, b"PONG\r\n"),
    (Mosquitto, told_by_mosquitto, b"\x40\x02\x00\x09"),
    (Ejabberd, told_by_xmpp, b"<iq xml:lang='en' type='result' id='x'><query/></iq>"),
    (Prosody, told_by_xmpp, b"\n"),
]
SERVERS = pytest.mark.parametrize(("kind", "told", "aside"), ALL, ids=[kind.name for kind, _, _ in ALL])


@SERVERS
def test_a_stream_cut_anywhere_gives_the_same_deliveries(kind: type[Peer], told: Stream, aside: bytes) -> None:
    peer = kind()
    stream = told(peer, "bob", 1) + aside + told(peer, "carol", 1) + told(peer, "bob", 2)
    expected = [("bob", 1), ("carol", 1), ("bob", 2)]
    for cut in range(len(stream) + 1):
        link = link_of("ann")
        assert peer.read(link, stream[:cut]) + peer.read(link, stream[cut:]) == expected
        assert link.rest == b""


@SERVERS
def test_what_is_not_a_message_stays_on_the_link(kind: type[Peer], told: Stream, aside: bytes) -> None:
    peer, link = kind(), link_of("ann")
    stream = told(peer, "bob", 1)
    assert peer.read(link, stream + stream[:-1]) == [("bob", 1)]
    assert link.rest == stream[:-1]


@SERVERS
def test_deliveries_are_counted_without_parsing(kind: type[Peer], told: Stream, aside: bytes) -> None:
    peer = kind()
    for number in range(1, 130):  # sizes that have the mark's bytes in them, if any has
        assert peer.count(told(peer, f"p{number}", number) * 3) == 3


@SERVERS
def test_another_content_than_was_said_is_wrong(kind: type[Peer], told: Stream, aside: bytes) -> None:
    peer, link = kind(), link_of("ann")
    shown, other = show_of(1), show_of(2)
    assert len(shown) != len(other)
    altered = told(peer, "bob", 1).replace(b"no. 000001", b"no. 000003").replace(b"#00000001", b"#00000002")
    altered = altered.replace(b"no. 00000001", b"no. 00000002")
    assert altered != told(peer, "bob", 1)
    told_of = peer.read(link, altered)
    assert told_of in ([("bob", WRONG)], [("bob", 3)])
    if told_of == [("bob", 3)]:  # ours: the text is that of a change that was not made yet, with the status of one
        assert kind is Presenced


@SERVERS
def test_the_answer_to_a_change_is_not_in_what_others_are_told(kind: type[Peer], told: Stream, aside: bytes) -> None:
    peer = kind()
    for number in (1, 2, 100):
        assert peer.answer("ann", number) not in told(peer, "bob", number)


@pytest.mark.parametrize("kind", [Ejabberd, Prosody])
def test_ones_own_presence_is_no_delivery_and_unavailable_is_a_ghost(kind: type[Peer]) -> None:
    peer, link = kind(), link_of("ann")
    own = told_by_xmpp(peer, "ann", 5)
    gone = b"<presence from='bob@localhost/bench' type='unavailable'/>"
    assert peer.answer("ann", 5) in own
    assert peer.read(link, own + gone) == [("bob", GHOST)]
    assert peer.read(link, b"<presence from='bob@localhost/bench'><show>dnd</show></presence>") == [("bob", WRONG)]


def test_a_last_will_is_a_ghost() -> None:
    will = packet(0x30, text(topic("bob")) + GONE)
    assert Mosquitto().read(link_of("ann"), will) == [("bob", GHOST)]


def test_a_payload_of_mqtt_may_need_two_bytes_of_length() -> None:
    broker = Mosquitto(200)
    stream = told_by_mosquitto(broker, "bob", 1) + told_by_mosquitto(broker, "bob", 2)
    assert broker.read(link_of("ann"), stream) == [("bob", 1), ("bob", 2)]


def test_the_application_beside_nats_answers_from_what_was_announced() -> None:
    nats, link = Nats(), link_of("application")
    nats.change("bob", 3)
    request = b"MSG presence.get 1 inbox.ann 9\r\nbob,carol\r\n"
    answer = b"PUB inbox.ann 114\r\n" + nats.payload(3) + nats.payload(0) + b"\r\n"
    assert nats._stand(link, b"PING\r\n" + request + request[:20]) == answer
    assert nats._stand(link, request[20:]) == answer
    came = b"MSG inbox.ann 0 114\r\n" + nats.payload(3) + nats.payload(0) + b"\r\nPONG\r\n"
    assert answer_all(nats.login("ann", ["bob", "carol"], records=True), came) == {"bob": 3, "carol": 0}


def test_an_error_of_redis_is_not_passed_over() -> None:
    link = link_of("ann")
    assert Redis().read(link, b"+OK\r\n-MISCONF Errors writing\r\n") == []
    assert link.rest.startswith(b"-MISCONF")


def test_one_record_told_with_two_versions_is_wrong() -> None:
    peer = Presenced()
    first, same, other = (
        frame(encode(Presence(Record("bob", "dnd", text_of(1), "", 1, 0, "bench", version)))) for version in (7, 7, 8)
    )
    assert peer.read(link_of("ann"), first) == peer.read(link_of("carol"), same) == [("bob", 1)]
    assert peer.read(link_of("dave"), other) == [("bob", WRONG)]


def test_the_packet_length_of_mqtt_grows_with_the_body() -> None:
    assert packet(0x30, b"x" * 127)[:2] == b"\x30\x7f"
    assert packet(0x30, b"x" * 128)[:3] == b"\x30\x80\x01"
    assert packet(0x82, b"x" * 20_000)[:4] == b"\x82\xa0\x9c\x01"


def test_rosters_have_both_ends_of_each_subscription() -> None:
    found = rosters(["a", "b", "c"], {"a": ["b"], "b": ["a", "c"]})
    assert found == {"a": {"b": "both"}, "b": {"a": "both", "c": "to"}, "c": {"b": "from"}}
    assert "<user name='c' password='bench'>" in exported(["a", "b", "c"], {"a": ["b"]})


def answer_all(conversation: Generator[bytes, bytes, dict[str, int]], *answers: bytes) -> dict[str, int]:
    next(conversation)
    with pytest.raises(StopIteration) as done:
        for answer in answers:
            conversation.send(answer)
    return dict(done.value.value)


def test_a_login_to_redis_tells_what_is_known_and_what_is_not() -> None:
    redis = Redis()
    heard = b"".join(b">3\r\n$9\r\nsubscribe\r\n$6\r\nuser:%s\r\n:1\r\n" % name for name in (b"b", b"c", b"d"))
    payloads = [b"$57\r\n%s\r\n" % redis.payload(4), b"_\r\n", b"$57\r\n%s\r\n" % redis.payload(6)]
    came = b"%1\r\n$5\r\nproto\r\n:3\r\n" + heard + b"*3\r\n" + b"".join(payloads) + b"+OK\r\n:0\r\n+PONG\r\n"
    assert answer_all(redis.login("a", ["b", "c", "d"], records=True), came[:150], came[150:]) == {"b": 4, "d": 6}


@pytest.mark.parametrize(
    ("peer", "answers", "why"),
    [
        (Redis(), [b"-NOAUTH Authentication required\r\n+PONG\r\n"], "NOAUTH"),
        (Mosquitto(), [b"\x20\x02\x00\x05"], "refused ann"),
        (Ejabberd(), [b"<stream:features></stream:features>", b"<failure><not-authorized/></failure>"], "let ann in"),
    ],
    ids=["redis", "mosquitto", "ejabberd"],
)
def test_a_refused_login_says_who_and_why(peer: Peer, answers: list[bytes], why: str) -> None:
    conversation = peer.login("ann", ["bob"], records=False)
    next(conversation)
    with pytest.raises(PeerFailed, match=why):
        for answer in answers:
            conversation.send(answer)


WATCHES = {"ann": ["bob", "carol"], "dave": ["bob"]}


@pytest.mark.parametrize(
    ("told", "faults"),
    [
        ([("bob", 1), ("bob", 2), ("carol", 1)], {}),
        ([("bob", 2), ("carol", 1)], {"lost": 1}),
        ([("bob", 1), ("bob", 2), ("bob", 2), ("carol", 1)], {"duplicated": 1}),
        ([("bob", 1), ("bob", 2), ("bob", 1), ("carol", 1)], {"misordered": 1}),
        ([("bob", 1), ("carol", 1)], {"stale": 1, "lost": 1}),
        ([("bob", 1), ("bob", 2), ("carol", 1), ("dave", 1)], {"wrong": 1}),
        ([("bob", 1), ("bob", 2), ("carol", 1), ("carol", GHOST)], {"ghost": 1}),
        ([("bob", 1), ("bob", 2), ("carol", 1), ("carol", WRONG)], {"wrong": 1}),
        ([("bob", 1), ("bob", 2), ("bob", 3), ("carol", 1)], {"wrong": 1}),
    ],
)
def test_each_fault_is_counted(told: list[Delivery], faults: dict[str, int]) -> None:
    ledger = Ledger(WATCHES, merges=False)
    ledger.told("ann", told)
    ledger.told("dave", [("bob", 1), ("bob", 2)])
    ledger.come_to_rest({"bob": 2, "carol": 1})
    assert ledger.checks.faults == faults
    # Counted once: the next round begins with everybody up to date.
    ledger.come_to_rest({"bob": 2, "carol": 1})
    assert ledger.checks.faults == faults
    # A fault of the warm-up stays one, a delivery does not count.
    ledger.forget()
    assert ledger.checks.faults == faults and ledger.checks.deliveries == 0


def test_one_that_may_merge_must_still_tell_the_last() -> None:
    ledger = Ledger({"ann": ["bob"]}, merges=True)
    ledger.told("ann", [("bob", 3)])
    assert (ledger.checks.faults, ledger.merged) == ({}, 2)
    ledger.come_to_rest({"bob": 4})
    assert ledger.checks.faults == {"stale": 1}


def test_records_are_held_against_the_truth() -> None:
    checks = Checks()
    told = {"a": 3, "b": 2, "c": GHOST, "d": WRONG, "f": 4}
    check_records(told, ["a", "b", "c", "d", "e", "f"], dict.fromkeys("abcdef", 3), checks)
    assert (checks.deliveries, checks.faults) == (1, {"lost": 1, "ghost": 1, "stale": 1, "wrong": 2})
