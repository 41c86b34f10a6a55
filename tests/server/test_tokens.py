"""The short way for tokens in the usual form accepts exactly what the library accepts."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from presenced.core.rights import rights_of
from presenced.errors import AuthError
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.identity import LEEWAY_S, Identity, Verifier, _accept, _judge, mint
from presenced.server.key_ring import KeyRing
from presenced.server.shared_key import SharedKey
from tests.support.tiers import samples

SECRET = b"a secret that is long enough for the hash of it"
RING = KeyRing((SECRET,))
NOW_S = int(time.time())

times = st.sampled_from(
    [
        *(0, 1, -1, NOW_S - 3600, NOW_S + 3600, 2**31, 2**53, 2**53 + 1, 2**63, 2**64),
        *(NOW_S, NOW_S + 1, NOW_S + LEEWAY_S, NOW_S + LEEWAY_S + 1),
    ]
)
oddities = st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2))


def verify(ring: KeyRing, token: str) -> Identity:
    """Judged at this moment by a verifier that remembers nothing."""
    return Verifier(ring).verify(token, SYSTEM_CLOCKS.wall_ms())


def claims() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "sub": st.one_of(st.sampled_from(["alice", "", "\u00fc", "a\nb"]), oddities),
            "exp": st.one_of(times, oddities, times.map(str), times.map(float)),
            "nbf": st.one_of(times, oddities, times.map(str), times.map(float)),
            "iat": st.one_of(times, oddities, times.map(str), times.map(float)),
            "role": st.one_of(st.sampled_from(["user", "service", "admin", "root", ""]), oddities),
            "jti": st.one_of(st.text(max_size=3), oddities),
            "aud": oddities,
            "iss": oddities,
            "other": oddities,
            "presence": st.one_of(rights, oddities),
        },
    )


rights = st.dictionaries(
    st.sampled_from(["see", "act", "join", "watch_channels", "only_read", "other"]),
    st.one_of(
        st.lists(st.sampled_from(["*", "bob", "a*", "*@acme", "**", "a b", "\u00fc*"]), max_size=3),
        st.booleans(),
        oddities,
    ),
    max_size=3,
)


headers = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"alg": st.sampled_from(["HS256", "HS512", "none", "hs256"])},
        optional={"typ": st.sampled_from(["JWT", "at+jwt"]), "crit": st.just(["exp"]), "kid": st.text(max_size=3)},
    ),
)


def signed(header: dict[str, Any] | None, payload: bytes) -> str:
    """A token of these parts with a genuine signature, whatever they are."""
    head = jwt.encode({}, SECRET, "HS256").split(".")[0] if header is None else encoded(json.dumps(header).encode())
    text = f"{head}.{encoded(payload)}"
    return f"{text}.{encoded(jwt.get_algorithm_by_name('HS256').sign(text.encode(), SECRET))}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def judged(token: str) -> Identity | None:
    try:
        return _judge(RING, token, NOW_S)
    except AuthError:
        return None


@settings(max_examples=samples(400))
@given(headers, claims())
@example(None, {"sub": "alice", "exp": NOW_S + 3600})
def test_it_accepts_only_what_the_library_does(header: dict[str, Any] | None, said: dict[str, Any]) -> None:
    token = signed(header, json.dumps(said).encode())
    found = _accept(RING, token, NOW_S)
    assert found is None or found == judged(token)


def test_the_claim_of_rights_is_read_either_way_and_remembered() -> None:
    presence = {"see": ["*@acme"], "act": ["bob"], "only_read": True}
    said = GOOD | {"role": "service", "presence": presence}
    wanted = rights_of(presence, "alice", "service")
    usual, other = signed(None, json.dumps(said).encode()), signed({"alg": "HS256"}, json.dumps(said).encode())
    found = _accept(RING, usual, NOW_S)
    assert found is not None and found.rights == wanted == _judge(RING, usual, NOW_S).rights
    verifier = Verifier(RING)
    assert [verifier.verify(other, NOW_S * 1000).rights for _ in range(2)] == [wanted, wanted]
    for without in (signed(None, json.dumps(GOOD).encode()), signed({"alg": "HS256"}, json.dumps(GOOD).encode())):
        assert verifier.verify(without, NOW_S * 1000).rights is None


@given(st.sampled_from(["user", "service", "admin"]), st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_it_accepts_what_is_minted(role: Any, user: str) -> None:
    token = mint(SECRET, user, role, NOW_S, 3600)
    assert (
        _accept(RING, token, NOW_S)
        == judged(token)
        == Identity(user, role, (NOW_S + 3600) * 1000, issued_ms=NOW_S * 1000)
    )


@pytest.mark.parametrize(
    ("said", "issued_ms"),
    [(12, 12_000), (12.75, 12_750), (0, 0), (-5, 0), (-1e308, 0), (-(10**400), 0)],
    ids=["whole", "fraction", "1970", "before", "far before", "beyond a float"],
)
def test_when_a_token_was_made_is_read_to_the_millisecond(said: Any, issued_ms: int) -> None:
    token = signed(None, json.dumps({"sub": "alice", "exp": NOW_S + 3600, "iat": said}).encode())
    assert verify(RING, token) == Identity("alice", "user", (NOW_S + 3600) * 1000, issued_ms=issued_ms)


@given(st.data())
def test_a_token_that_was_touched_is_not_accepted(data: st.DataObject) -> None:
    token = mint(SECRET, "alice", "user", NOW_S, 3600)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(sorted(set("Ab0-_.=\n \u00e9") - {token[at]})))
    for touched in (
        token[:at] + other + token[at + 1 :],
        token[:at] + token[at + 1 :],
        token[:at] + other + token[at:],
    ):
        assert _accept(RING, touched, NOW_S) is None, touched
        with pytest.raises(AuthError):
            verify(RING, touched)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sub":"alice","exp":99999999999} ',
        b'{"sub":"alice","exp":99999999999',
        b'{"sub":"alice","sub":"bob","exp":99999999999}',
        b'{"sub":"alice","exp":99999999999,"role":null}',
        b'["sub","alice","exp",99999999999]',
        b"\xff",
        b"",
    ],
)
def test_odd_payloads_that_are_genuinely_signed(payload: bytes) -> None:
    token = signed(None, payload)
    found = _accept(RING, token, NOW_S)
    assert found is None or found == judged(token)


def test_the_time_counts() -> None:
    token = mint(SECRET, "alice", "user", NOW_S, 60)
    assert _accept(RING, token, NOW_S + 59) is not None
    assert _accept(RING, token, NOW_S + 60) is None
    assert _accept(RING, token, NOW_S - LEEWAY_S) is not None, "clocks differ"
    assert _accept(RING, token, NOW_S - LEEWAY_S - 1) is None, "made in the future"


GOOD: dict[str, Any] = {"sub": "alice", "exp": NOW_S + 3600}


@pytest.mark.parametrize("header", [None, {"alg": "HS256", "kid": "1"}], ids=["usual", "other"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"iat": NOW_S + 2, "nbf": NOW_S + LEEWAY_S},
        {"iat": NOW_S - 0.5, "nbf": NOW_S + 0.5},
        {"exp": NOW_S + 1},
        {"exp": 2**53},
        {"jti": 7, "aud": ["x"], "iss": 4, "x": None},
    ],
)
def test_what_is_taken_either_way(more: dict[str, Any], header: dict[str, Any] | None) -> None:
    said = GOOD | more
    token = signed(header, json.dumps(said).encode())
    assert (_accept(RING, token, NOW_S) or _judge(RING, token, NOW_S)).expires_ms == said["exp"] * 1000
    assert judged(token) is not None


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"exp": GOOD["exp"]}, "claim sub is missing"),
        (GOOD | {"sub": None}, "claim sub is missing"),
        (GOOD | {"sub": 5}, "claim sub is no string"),
        ({"sub": "alice"}, "claim exp is missing"),
        (GOOD | {"exp": str(GOOD["exp"])}, "claim exp is no integer"),
        (GOOD | {"exp": NOW_S + 100.5}, "claim exp is no integer"),
        (GOOD | {"exp": float(NOW_S + 100)}, "claim exp is no integer"),
        (GOOD | {"exp": 1e300}, "claim exp is no integer"),
        (GOOD | {"exp": True}, "claim exp is no integer"),
        (GOOD | {"exp": 2**53 + 1}, "claim exp is beyond 2^53"),
        (GOOD | {"role": "king"}, "claim role is none of user, service, admin"),
        (GOOD | {"role": ["admin"]}, "claim role is none of user, service, admin"),
        (GOOD | {"iat": NOW_S * 1000}, "claim iat is more than a day ahead of this server's clock; write seconds"),
        (GOOD | {"iat": "now"}, "claim iat is no number"),
        (GOOD | {"nbf": None}, "claim nbf is no number"),
        (GOOD | {"nbf": float("nan")}, "claim nbf is no number"),
        (GOOD | {"nbf": 10**400}, "claim nbf is more than a day ahead of this server's clock"),
        (GOOD | {"iat": 10**400}, "claim iat is more than a day ahead of this server's clock"),
        (GOOD | {"exp": 10**400}, "claim exp is beyond 2^53"),
        (GOOD | {"sub": [10**400]}, "claim sub is no string"),
        (GOOD | {"role": -(10**400)}, "claim role is none of user, service, admin"),
        (GOOD | {"presence": None}, "claim presence is no object"),
        (GOOD | {"presence": {"act": ["bob"]}}, "claim presence has act"),
        (GOOD | {"presence": {"see": ["a b"]}}, "claim presence: see, pattern 1: "),
        (GOOD | {"role": "service", "presence": {"see": [10**400]}}, "claim presence: see is no list of strings"),
        ([GOOD], "cannot be read as a JSON Web Token"),
    ],
)
def test_a_genuine_token_is_told_what_is_wrong_with_it(claims: Any, says: str) -> None:
    token = signed(None, json.dumps(claims).encode())
    assert _accept(RING, token, NOW_S) is None
    with pytest.raises(AuthError) as caught:
        _judge(RING, token, NOW_S)
    assert caught.value.code == "bad_token" and says in caught.value.message


@pytest.mark.parametrize(("ahead_s", "retry_ms"), [(LEEWAY_S + 1, 1_001), (LEEWAY_S + 6, 6_001), (86_400, 60_001)])
@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_from_ahead_is_told_when_its_time_comes(claim: str, ahead_s: int, retry_ms: int) -> None:
    """A clock that is behind is put right, so this is no refusal for good, and the wait is never long."""
    token = signed(None, json.dumps(GOOD | {claim: NOW_S + ahead_s}).encode())
    with pytest.raises(AuthError, match=f"claim {claim} is more than 60 s ahead of this server's clock") as caught:
        _judge(RING, token, NOW_S)
    assert (caught.value.code, caught.value.temporary, caught.value.retry_ms) == ("token_early", True, retry_ms)


def nested(depth: int) -> bytes:
    return b'{"sub":"alice","exp":99999999999,"x":%b}' % (b"[" * depth + b"]" * depth)


@pytest.mark.parametrize("depth", [100, 400, 1_000, 1_300])
def test_claims_that_are_nested_deep_are_taken_or_refused(depth: int) -> None:
    token = signed(None, nested(depth))
    try:
        assert verify(RING, token).user == "alice"
    except AuthError as error:
        assert error.code == "bad_token"
    assert verify(RING, signed(None, nested(10))).user == "alice", "other claims are ignored"


digits = st.integers(300, 2_500).map(lambda count: b"9" * count)
numbers = st.one_of(
    digits,
    digits.map(lambda written: b"-" + written),
    digits.map(lambda written: written + b".5"),
    st.sampled_from([b"1e400", b"-1e400", b"1e-400", b"-0", b"NaN", b"Infinity", b"-Infinity", b"1.0", b"01", b"0x1"]),
)
deep = st.integers(1, 1_500).map(lambda depth: b"[" * depth + b"]" * depth)
words = st.sampled_from([b'"alice"', b'"\\ud800"', b'"\\u0000"', b'""', b'"user"', b"null", b"true", b"{}", b'{"":{}}'])
values = st.one_of(
    numbers, deep, words, st.binary(max_size=4), st.text(max_size=4).map(lambda t: json.dumps(t).encode())
)
members = st.sampled_from(["sub", "exp", "nbf", "iat", "role", "alg", "typ", "kid", "crit", "b64", "x", ""])


@st.composite
def documents(draw: st.DrawFn, sound: dict[str, bytes]) -> bytes:
    """A JSON object that is sound but for what is drawn, with members twice at times; now and then no object at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(values)
    said = [*sound.items(), *draw(st.lists(st.tuples(members, values), max_size=3))]
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in said) + b"}"


@settings(max_examples=samples(600), suppress_health_check=[HealthCheck.too_slow])
@given(documents({"alg": b'"HS256"'}), documents({"sub": b'"alice"', "exp": b"99999999999"}), st.booleans())
@example(b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"alice","exp":1,"nbf":%b}' % (b"9" * 400), False)
@example(b'{"alg":"HS256","typ":"JWT"}', nested(1_300), False)
@example(b'{"alg":%b}' % (b"[" * 1_400 + b"]" * 1_400), nested(1), False)
def test_whatever_comes_as_a_token_is_accepted_or_refused(header: bytes, payload: bytes, tampered: bool) -> None:
    text = f"{encoded(header)}.{encoded(payload)}"
    token = f"{text}.{encoded(jwt.get_algorithm_by_name('HS256').sign(text.encode(), SECRET))}"
    try:
        found = verify(RING, token[:-3] + "AAA" if tampered else token)
    except AuthError as error:
        assert error.code in ("bad_token", "token_expired")
    else:
        assert found.role in ("user", "service", "admin") and not tampered


@given(st.text(max_size=60))
def test_what_is_no_token_at_all_is_refused(token: str) -> None:
    with pytest.raises(AuthError):
        verify(RING, token)


def test_a_token_that_is_over_has_a_code_of_its_own() -> None:
    for said in (GOOD | {"exp": NOW_S - 1}, GOOD | {"exp": -1}):
        with pytest.raises(AuthError) as caught:
            verify(RING, signed(None, json.dumps(said).encode()))
        assert caught.value.code == "token_expired"
        assert "presenced token" not in str(caught.value), "whose tokens an issuer makes has no use for our command"


def test_of_a_token_that_is_not_genuine_nothing_is_told() -> None:
    another = "another secret, and as long as it has to be"
    for said in ({}, {"sub": 5}, GOOD | {"exp": 1}):
        with pytest.raises(AuthError, match="no key of this server verifies"):
            verify(RING, by_another(said, another))
    with pytest.raises(AuthError, match="alg is not HS256"):
        verify(RING, signed({"alg": "HS512"}, json.dumps(GOOD).encode()))
    with pytest.raises(AuthError, match="cannot be read as a JSON Web Token"):
        verify(RING, "hunter2")


def by_another(said: dict[str, Any], secret: str) -> str:
    text = f"{encoded(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{encoded(json.dumps(said).encode())}"
    return f"{text}.{encoded(jwt.get_algorithm_by_name('HS256').sign(text.encode(), secret.encode()))}"


@pytest.mark.parametrize("header", [None, {"alg": "HS256"}], ids=["usual header", "another"])
def test_any_of_several_keys_will_do(header: dict[str, Any] | None) -> None:
    token = signed(header, json.dumps(GOOD).encode())
    others = tuple(bytes([letter]) * 32 for letter in b"abc")
    for keys in ((SECRET, *others), (*others, SECRET), (others[0], SECRET, others[1])):
        assert verify(KeyRing(keys), token).user == "alice"
    with pytest.raises(AuthError, match="no key of this server verifies"):
        verify(KeyRing(others), token)
    with pytest.raises(AuthError):
        verify(KeyRing(), token)


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], None, "x"])
def test_what_the_issuer_calls_critical_is_not_passed_over(crit: object) -> None:
    """RFC 7515, 4.1.11: a token whose header says `crit` is refused by who does not understand what it names."""
    for extra in ({}, {"b64": True}):
        with pytest.raises(AuthError) as raised:
            verify(RING, signed({"alg": "HS256", "typ": "JWT", "crit": crit, **extra}, json.dumps(GOOD).encode()))
        assert raised.value.code == "bad_token"


def test_another_secret_is_not_accepted() -> None:
    assert (
        _accept(
            KeyRing((b"another secret, and as long as it has to be",)), mint(SECRET, "alice", "user", NOW_S, 60), NOW_S
        )
        is None
    )


@given(secret=st.binary(min_size=1, max_size=200), message=st.binary(max_size=300))
@example(secret=b"x" * 64, message=b"")
@example(secret=b"x" * 65, message=b"")
def test_a_shared_key_signs_as_the_library_does_and_the_same_again(secret: bytes, message: bytes) -> None:
    key = SharedKey(secret)
    assert key.sign(message) == key.sign(message) == hmac.digest(secret, message, "sha256")
