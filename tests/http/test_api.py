"""Requests over HTTP, against a real server: who asks, what is answered, and what is bounded."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from presenced import limits
from presenced.http.api import pool, pool as pool_module
from presenced.http.api.requests import REQUESTS
from presenced.sync import connect
from tests.e2e.tokens import SECRET, signed
from tests.http.asking import APP, Asked, Backend
from tests.support.lowering import lower_in_process
from tests.support.until import until


@pytest.fixture(scope="module")
def server() -> Iterator[Asked]:
    with Asked() as server:
        yield server


@pytest.fixture
def app(server: Asked) -> Iterator[Backend]:
    with server.backend() as app:
        yield app


# --- a backend's day ----------------------------------------------------------------------------------------------


def test_what_a_backend_says_is_what_clients_see(server: Asked, app: Backend) -> None:
    with connect(f"presence://bob@127.0.0.1:{server.port}/desk") as bob:
        app.done("attach", user="ann", device="web", kind="browser", name="Firefox")
        assert bob.get_status("ann").status == "online"
        app.done("set_status", user="ann", status="dnd", text="in a meeting", emoji="📅", for_ms=60_000)
        record = bob.get_status("ann")
        assert (record.status, record.text, record.emoji) == ("dnd", "in a meeting", "📅")
        told = app.done("get_status", users=["ann", "bob", "nobody"])
        assert [one["status"] for one in told["records"]] == ["dnd", "online", "offline"]
        assert told["records"][0]["text"] == "in a meeting" and told["valid_until_ms"] == []
        app.done("join", user="ann", device="web", channel="general")
        assert app.done("get_members", channel="general")["total"] == 1
        app.done("detach", user="ann", device="web")
        assert bob.get_status("ann").status == "offline"


def test_every_connection_speaks_over_the_same_link(server: Asked, app: Backend) -> None:
    app.done("attach", user="cat", device="web")
    links = server.ask(lambda server: len(server.links))
    with server.backend() as other:
        other.done("detach", user="cat", device="web")
        assert server.ask(lambda server: len(server.links)) == links
        assert other.status_of("cat") == "offline"


def test_a_body_may_be_left_out(server: Asked, app: Backend) -> None:
    assert app.send("POST", "/v1/who").said["next"] == ""
    assert app.send("POST", "/v1/ping").said["server_time_ms"] > 1_700_000_000_000


LEAST = {
    "user": "ann",
    "users": ["ann"],
    "contact": "bob",
    "device": "web",
    "channel": "general",
    "claim": "standup",
    "source": "call",
    "status": "dnd",
    "zone": "Europe/Berlin",
    "windows": [{"days": 31, "start_min": 0, "end_min": 60}],
    "activity": "message",
    "text": "/presence",
    "contacts": [{"contact": "bob"}],
    "name": "mail",
    "id": "1.1",
    "for_at_most_ms": 1,
}
"""A value for each field that some request needs, or that keeps it short."""


@pytest.mark.parametrize("role", ["user", "service", "admin"])
def test_every_request_is_answered_in_every_role(server: Asked, role: str) -> None:
    answered: dict[str, int] = {}
    with server.backend({"Presence-User": "ann", "Presence-Role": role}) as ann:
        for name, request in REQUESTS.items():
            form = {field.name: field for field in msgspec.structs.fields(request.form)}
            said = {field: LEAST[field] for field in form if form[field].required or field in ("user", "device")}
            if name == "await_status":
                said["for_at_most_ms"] = 1
            told = ann.ask(name, **said)
            answered[name] = told.status
            if told.status == 200:
                assert list(told.said) == list(request.answer.__struct_fields__), name
            else:
                assert told.status in (400, 403, 404, 409), (name, told)
    services_alone = {"attach", "detach", "find_claims", "set_contacts", "revoke", "kick", "erase"}
    services_alone |= {"get_followers", "forget_follower"}
    assert {name for name in services_alone if answered[name] == 403} == (services_alone if role == "user" else set())
    assert sum(status == 200 for status in answered.values()) > 25


def test_errors_have_their_code_and_status(server: Asked, app: Backend) -> None:
    assert app.refused("set_status", user="no slash/es", status="dnd") == (400, "bad_name")
    assert app.refused("set_device", user="ann", device="never") == (404, "no_such_device")
    assert app.refused("set_status", status="dnd") == (400, "no_device")
    assert app.refused("get_claims") == (400, "no_device")
    with server.backend({"Presence-User": "eve", "Presence-Role": "user"}) as eve:
        assert eve.refused("set_status", user="ann", status="dnd") == (403, "forbidden")
        assert eve.refused("attach", user="eve", device="web") == (403, "forbidden")
        assert eve.refused("kick", user="ann") == (403, "forbidden")


def test_what_is_no_request_is_told_what_is(app: Backend) -> None:
    for name, word in (("watch", "/v1/events"), ("beats", "beat"), ("hello", "token"), ("nothing", "openapi.json")):
        answered = app.ask(name)
        assert (answered.status, answered.said["code"]) == (404, "not_found")
        assert word in answered.said["message"]
    for path in ("/v1", "/v1/", "/v1/who/", "/v1//who", "/v1/WHO", "/v1/../v1/who", "/v1/%77ho"):
        answered = app.send("POST", path)
        assert answered.status == 404
        assert answered.said["message"].startswith(f"there is no {path};")
    for method in ("GET", "HEAD"):
        answered = app.send(method, "/v1/who")
        assert answered.status == 405 and answered.headers["Allow"] == "POST"
    answered = app.send("POST", "/v1/events")
    assert answered.status == 405 and answered.headers["Allow"] == "GET"


def test_bodies_are_bounded_and_must_be_json(app: Backend) -> None:
    answered = app.send("POST", "/v1/who", b"{}", **{"Content-Type": "text/plain"})
    assert (answered.status, answered.said["code"]) == (415, "unsupported_type")
    large = json.dumps({"after": "x" * limits.FRAME_BYTES_MAX})
    assert app.send("POST", "/v1/who", large, **{"Content-Type": "application/json"}).status == 413
    names = [f"{number:0128d}" for number in range(256)]
    assert len(app.done("get_status", users=names)["records"]) == 256


REFUSED_BEFORE = {
    "a body that is too long": ("POST", b"x" * 70_000, {}, 413, "frame_too_large"),
    "a body in chunks": ("POST", None, {"Transfer-Encoding": "chunked"}, 411, "bad_request"),
    "another method": ("PUT", None, {}, 405, "bad_method"),
    "many headers": ("POST", None, {f"X-{number}": "x" for number in range(120)}, 431, "frame_too_large"),
    "a long header": ("POST", None, {"X": "x" * 9_000}, 431, "frame_too_large"),
    "a stranger's page": ("POST", None, {"Origin": "http://stranger.example"}, 403, "forbidden"),
    "a stranger's name": ("POST", None, {"Host": "stranger.example"}, 421, "forbidden"),
}


@pytest.mark.parametrize("case", REFUSED_BEFORE)
def test_what_is_refused_before_it_is_looked_at_has_a_code_as_well(app: Backend, case: str) -> None:
    method, body, headers, status, code = REFUSED_BEFORE[case]
    answered = app.send(method, "/v1/who?x=y", body, **headers)
    assert (answered.status, answered.said["code"], answered.said["temporary"]) == (status, code, False)
    assert answered.said["message"]
    elsewhere = app.send("PUT", "/healthz")
    assert elsewhere.status == 405 and elsewhere.headers["Content-Type"].startswith("text/plain")


def test_the_description_is_served_to_anybody(server: Asked) -> None:
    with server.backend({}) as anybody:
        for _ in range(2):
            answered = anybody.send("GET", "/v1/openapi.json")
            assert answered.said["openapi"] == "3.1.0"
        assert anybody.send("HEAD", "/v1/openapi.json").said == b""


def test_a_description_that_cannot_be_made_is_told_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr("presenced.http.api.door.document", fail)
    with Asked() as server, server.backend({}) as anybody:
        assert anybody.send("GET", "/v1/openapi.json").status == 500
        monkeypatch.undo()
        assert anybody.send("GET", "/v1/openapi.json").status == 200


# --- who asks -----------------------------------------------------------------------------------------------------


def test_in_development_headers_say_who_asks(server: Asked) -> None:
    with server.backend({}) as nobody:
        answered = nobody.send("POST", "/v1/who")
        assert (answered.status, answered.said["code"]) == (401, "bad_token")
        assert "Presence-User" in answered.said["message"]
        assert nobody.send("POST", "/v1/who", None, **{"Presence-User": "x", "Presence-Role": "king"}).status == 400
        answered = nobody.send("POST", "/v1/who", None, **{"Presence-User": "a/b"})
        assert (answered.status, answered.said["code"]) == (400, "bad_hello")
    with server.backend({"Presence-User": "zoë".encode().decode("latin-1"), "Presence-Role": "user"}) as zoe:
        zoe.done("set_status", text="là")
        assert zoe.done("get_status", users=["zoë"])["records"][0]["text"] == "là"


def test_a_user_asks_for_themselves_and_is_not_online_by_that(server: Asked) -> None:
    with server.backend({"Presence-User": "ida", "Presence-Role": "user"}) as ida:
        ida.done("set_status", status="dnd", text="writing")
        assert ida.status_of("ida") == "offline"
        with connect(f"presence://ida@127.0.0.1:{server.port}/desk"):
            assert ida.status_of("ida") == "dnd"
            assert [one["device"] for one in ida.done("get_devices")["devices"]] == ["desk"]
            ida.done("set_device", device="desk", status="chat")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Asked]:
    (tmp_path / "secret").write_text(SECRET)
    with Asked(dev=False, secret_file=str(tmp_path / "secret")) as server:
        yield server


def bearer(**claims: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {signed(**claims)}"}


def test_a_token_says_who_asks(guarded: Asked) -> None:
    with guarded.backend(bearer(sub="app", role="service")) as app:
        app.done("attach", user="ann", device="web")
        assert app.status_of("ann") == "online"
    with guarded.backend(bearer(sub="ann")) as ann:
        assert ann.refused("attach", user="ann", device="web") == (403, "forbidden")
        ann.done("set_status", status="away")
    narrow = {"act": ["x-*"]}
    with guarded.backend(bearer(sub="app", role="service", presence=narrow)) as other:
        assert other.refused("set_status", user="ann", status="dnd") == (403, "forbidden")
        assert other.status_of("ann") == "offline", "another token has a link of its own"
    assert guarded.ask(lambda server: len(server.links)) == 3


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "bad_token"),
        ({"Authorization": "Bearer"}, "bad_token"),
        ({"Authorization": "Basic YTpi"}, "bad_token"),
        ({"Authorization": "Bearer not.a.token"}, "bad_token"),
        ({"Authorization": f"Bearer {signed()}x"}, "bad_token"),
        ({"Authorization": f"Bearer {signed(exp=1_000_000_000)}"}, "token_expired"),
        ({"Presence-User": "ann", "Presence-Role": "admin"}, "bad_token"),
    ],
)
def test_a_token_that_is_not_good_is_refused(guarded: Asked, headers: dict[str, str], code: str) -> None:
    with guarded.backend(headers) as somebody:
        answered = somebody.ask("who")
        assert (answered.status, answered.said["code"]) == (401, code)
        assert answered.headers["WWW-Authenticate"].startswith("Bearer")
        assert signed() not in str(answered)
    assert guarded.ask(lambda server: len(server.links)) == 0


def test_a_token_ends_and_is_revoked_while_its_link_is_kept(guarded: Asked) -> None:
    now_s = int(time.time())
    with guarded.backend(bearer(sub="app", role="service")) as app:
        with guarded.backend(bearer(sub="short", exp=now_s + 2)) as short:
            short.done("who")
            until(lambda: short.refused("who") == (401, "token_expired"), "the token ends")
        with guarded.backend(bearer(sub="gone", iat=now_s - 10)) as gone:
            gone.done("who")
            app.done("revoke", user="gone")
            until(lambda: gone.refused("who") == (401, "token_revoked"), "the token is refused")
        with guarded.backend(bearer(sub="out", role="service")) as out:
            out.done("who")
            app.done("kick", user="out")
            until(lambda: out.ask("who").status == 200, "a good token is taken again")


def test_a_key_that_is_taken_away_ends_its_tokens_at_once(guarded: Asked, tmp_path: Path) -> None:
    """Over TCP a link stays until its token ends. A request over HTTP brings its token each time."""
    with guarded.backend(bearer(sub="app", role="service")) as app:
        app.done("who")
        (tmp_path / "secret").write_text(SECRET[::-1])
        from presenced.server.key_ring import load_key_ring

        def exchange(server: object) -> None:
            active = server.active  # type: ignore[attr-defined]
            active.adopt(active.settings, None, load_key_ring(active.settings))

        guarded.ask(exchange)
        assert app.refused("who") == (401, "bad_token")


# --- devices ------------------------------------------------------------------------------------------------------


def test_a_device_lives_by_its_lease_and_each_beat_renews_it(server: Asked, app: Backend) -> None:
    def lease_ms() -> int:
        (device,) = app.done("get_devices", user="leo")["devices"]
        now_ms = app.done("ping")["server_time_ms"]
        left: int = device["lease_until_ms"] - now_ms
        return left

    app.done("attach", user="leo", device="web", status="chat", priority=3)
    assert 80_000 < lease_ms() <= limits.HTTP_LEASE_MS
    app.done("beat", user="leo", device="web", for_at_most_ms=600_000, focus="general")
    assert 590_000 < lease_ms() <= 600_000
    app.done("attach", user="leo", device="web", as_was=True)
    assert 80_000 < lease_ms() <= limits.HTTP_LEASE_MS
    (device,) = app.done("get_devices", user="leo")["devices"]
    assert (device["status"], device["priority"], device["state"]) == ("chat", 3, "connected")
    app.done("set_status", user="leo", text="here")
    version = app.done("get_status", users=["leo"])["records"][0]["version"]
    app.done("beat", user="leo", device="web", idle_ms=0)
    app.done("beat", user="leo", device="web", idle_ms=400_000)
    assert app.status_of("leo") == "chat", "a device that was active a moment ago is not idle"
    assert app.done("get_status", users=["leo"])["records"][0]["version"] == version, "nobody is told of a beat"
    app.done("beat", user="leo", device="web", for_at_most_ms=1)
    until(lambda: app.status_of("leo") == "offline", "the lease ends")
    assert app.refused("beat", user="leo", device="web") == (404, "no_such_device")
    assert app.status_of("leo") == "offline", "a late beat brings nobody back"


def test_a_beat_takes_no_device_from_another_client(server: Asked, app: Backend) -> None:
    app.done("attach", user="tom", device="web")
    with connect(f"presence://tom@127.0.0.1:{server.port}/web") as tom:
        assert app.refused("beat", user="tom", device="web") == (409, "device_held")
        assert app.refused("detach", user="tom", device="web") == (404, "no_such_device")
        assert app.refused("attach", user="tom", device="web", only_free=True) == (409, "device_held")
        assert tom.get_status("tom").status == "online"
    with server.backend({"Presence-User": "other-app"}) as other:
        app.done("attach", user="tom", device="tab")
        assert other.refused("beat", user="tom", device="tab") == (409, "device_held")
        other.done("attach", user="tom", device="tab")
        assert app.refused("beat", user="tom", device="tab") == (409, "device_held")


def test_a_device_outlives_the_link_that_attached_it(server: Asked, app: Backend) -> None:
    app.done("attach", user="una", device="web")

    def end_links(_: object) -> None:
        for link in server.door.pool:
            link.leave()

    server.ask(end_links)
    assert app.status_of("una") == "online"
    app.done("beat", user="una", device="web", focus="general")
    (device,) = app.done("get_devices", user="una")["devices"]
    assert (device["state"], device["focus"]) == ("connected", "general")
    app.done("detach", user="una", device="web")
    assert app.status_of("una") == "offline"


def test_beats_and_attaches_leave_nothing_behind(server: Asked, app: Backend) -> None:
    def refs(server: object) -> int:
        return sum(len(session.refs or ()) for session in sessions_of(server))  # type: ignore[attr-defined]

    before = server.ask(refs)
    for number in range(20):
        app.done("attach", user="kim", device="web", as_was=number % 2 == 0)
        app.done("beat", user="kim", device="web")
    assert server.ask(refs) == before + 1
    app.done("detach", user="kim", device="web")
    assert server.ask(refs) == before


def test_beats_go_on_while_the_server_is_short_of_memory(server: Asked, app: Backend) -> None:
    app.done("attach", user="lin", device="web")
    server.ask(lambda server: server.engine.set_memory_level(2))
    try:
        assert app.refused("get_devices", user="lin") == (503, "memory_low")
        app.done("beat", user="lin", device="web", focus="general")
        assert app.refused("beat", user="nobody", device="web") == (503, "memory_low")
    finally:
        server.ask(lambda server: server.engine.set_memory_level(0))
    (device,) = app.done("get_devices", user="lin")["devices"]
    assert device["focus"] == "general"


def test_numbers_of_devices_are_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDS_MAX", 8)
    with Asked() as server, server.backend() as app:
        for number in range(20):
            app.done("attach", user=f"user-{number}", device="web")
            given = server.ask(lambda server: [max(session.refs or (0,)) for session in sessions_of(server)])  # type: ignore[attr-defined]
            assert max(given) <= 8
        assert app.done("who")["total"] == 20, "none was let go for another"


# --- waiting ------------------------------------------------------------------------------------------------------


def test_an_await_answers_when_it_is_so(server: Asked, app: Backend) -> None:
    with server.backend() as waiting:
        told: list[object] = []
        thread = threading.Thread(target=lambda: told.append(waiting.done("await_status", user="wes")))
        thread.start()
        server.until(lambda _: any(link.is_in_use for link in server.door.pool))
        app.done("attach", user="wes", device="web")
        thread.join()
    assert told[0]["met"] is True  # type: ignore[index]
    assert app.done("await_status", user="never", for_at_most_ms=1)["met"] is False


def test_an_await_ends_with_its_connection(server: Asked, app: Backend) -> None:
    def awaits(server: object) -> int:
        return sum(len(session.awaits or ()) for session in sessions_of(server))

    before = server.ask(awaits)
    with server.backend() as waiting:
        body = json.dumps({"user": "never"})
        headers = {**APP, "Content-Type": "application/json"}
        waiting.connection.request("POST", "/v1/await_status", body, headers)
        server.until(lambda server: awaits(server) == before + 1)
    server.until(lambda server: awaits(server) == before)
    app.done("who")


def sessions_of(server: object) -> list[object]:
    return [link.session for link in server.links if link.session is not None]  # type: ignore[attr-defined]


def test_who_asks_too_fast_waits_and_then_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lower_in_process(monkeypatch, HTTP_WAIT_MS_MAX=300)
    with Asked(rate=20) as server, server.backend({"Presence-User": "sue", "Presence-Role": "user"}) as sue:
        began_s = time.monotonic()
        for _ in range(90):
            sue.done("ping")
        assert time.monotonic() - began_s > 0.1, "beyond the burst requests wait"
        answers: list[tuple[int, str | None]] = []

        def ask() -> None:
            with server.backend({"Presence-User": "sue", "Presence-Role": "user"}) as one:
                answered = one.ask("who", limit=64)
                answers.append((answered.status, answered.headers.get("Retry-After")))

        threads = [threading.Thread(target=ask) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {answer for answer in answers} == {(200, None), (429, "1")}
        with server.backend({"Presence-User": "bob", "Presence-Role": "user"}) as bob:
            bob.done("ping")  # what is refused to one user is not refused to another


def test_bodies_that_are_no_requests_are_paid_for_as_well() -> None:
    with Asked(rate=10) as server, server.backend({"Presence-User": "sue", "Presence-Role": "user"}) as sue:
        body = b'{"after": "' + b"x" * 20_000 + b'", "befor": 1}'
        told = []
        for _ in range(8):
            told.append(sue.send("POST", "/v1/who", body, **{"Content-Type": "application/json"}))
        statuses = [one.status for one in told]
        assert statuses[:2] == [400, 400] and statuses[-1] == 429, statuses
        assert int(told[-1].headers["Retry-After"]) >= 2
        with server.backend({"Presence-User": "bob", "Presence-Role": "user"}) as bob:
            assert bob.ask("who").status == 200


def test_awaits_are_bounded(server: Asked, app: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    lower_in_process(monkeypatch, HTTP_AWAITS_MAX=1)
    with server.backend() as waiting:
        headers = {**APP, "Content-Type": "application/json"}
        waiting.connection.request("POST", "/v1/await_status", json.dumps({"user": "never"}), headers)
        server.until(lambda _: any(link.is_in_use for link in server.door.pool))
        assert app.refused("await_status", user="never") == (409, "await_limit")
        app.done("who")
    server.until(lambda _: not any(link.is_in_use for link in server.door.pool))
    assert app.done("await_status", user="never", for_at_most_ms=1)["met"] is False


def test_who_asks_in_vain_has_to_connect_again(server: Asked, app: Backend) -> None:
    with server.backend({}) as nobody:
        for path in ("/v1/who", "/v1/nothing"):
            assert nobody.send("POST", path).headers["Connection"] == "close"
    assert "Connection" not in app.ask("who").headers
    assert "Connection" not in app.ask("who", limit=1_000).headers, "a mistake is paid for"


def test_a_reply_that_cannot_be_told_reaches_nobody_else(server: Asked, app: Backend) -> None:
    request = REQUESTS["who"]

    def fail(reply: object) -> bytes:
        raise RuntimeError("a bug")

    door = server.door
    broken = {**REQUESTS, "who": request._replace(tell=fail)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("presenced.http.api.door.REQUESTS", broken)
        with server.backend() as other:
            thread = threading.Thread(target=lambda: [app.status_of("ann") for _ in range(20)])
            thread.start()
            for _ in range(5):
                assert other.ask("who").status == 500
            thread.join()
    assert app.ask("who").status == 200
    assert len(door.pool)


def test_requests_of_many_connections_are_answered_each_its_own(server: Asked) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        with server.backend() as one:
            for again in range(30):
                name = f"user-{number}-{again}"
                (record,) = one.done("get_status", users=[name])["records"]
                if record["user"] != name:
                    wrong.append((name, record))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- links --------------------------------------------------------------------------------------------------------


def test_links_are_bounded_and_the_one_that_was_used_longest_ago_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    lower_in_process(monkeypatch, HTTP_LINKS_MAX=3)
    with Asked() as server:
        for number in range(5):
            with server.backend({"Presence-User": f"app-{number}"}) as one:
                one.done("who")
                assert server.ask(lambda server: len(server.links)) <= 4
        server.until(lambda server: len(server.links) == 3)
        names = server.ask(lambda _: [link.user for link in server.door.pool])
        assert names == ["app-2", "app-3", "app-4"]


def test_a_link_is_kept_for_a_while_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    lower_in_process(monkeypatch, HTTP_LINK_IDLE_MS=300)
    monkeypatch.setattr(pool_module, "SWEEP_S", 0.1)
    with Asked(heartbeat_ms=1_000) as server, server.backend() as app:
        app.done("attach", user="ann", device="web")
        server.until(lambda server: len(server.links) == 0)
        assert app.status_of("ann") == "online"


def test_a_link_that_is_kept_is_heard() -> None:
    """Its own lease is a fraction of the time for which it is kept."""
    with Asked(heartbeat_ms=1_000) as server, server.backend() as app:
        app.done("who")
        (session,) = server.ask(sessions_of)
        heard_ms = session.heard_ms  # type: ignore[attr-defined]
        server.until(lambda server: session.heard_ms >= heard_ms + 1_000)  # type: ignore[attr-defined]
        app.done("who")
        assert server.ask(sessions_of) == [session]


def test_what_waits_is_refused_when_the_server_stops() -> None:
    with Asked() as server, server.backend() as app:
        app.done("who")
        told: list[tuple[int, str]] = []
        thread = threading.Thread(target=lambda: told.append(app.refused("await_status", user="never")))
        thread.start()
        server.until(lambda _: any(link.is_in_use for link in server.door.pool))
        server.ask(lambda server: server.begin_stop())
        thread.join()
        assert told == [(503, "going_away")]


def test_an_id_that_waits_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDS_MAX", 5)
    with Asked() as server, server.backend() as app, server.backend() as waiting:
        waiting.connection.request(
            "POST",
            "/v1/await_status",
            json.dumps({"user": "ann"}),
            {**APP, "Content-Type": "application/json"},
        )
        server.until(lambda _: any(link.is_in_use for link in server.door.pool))
        for number in range(12):
            assert app.status_of(f"user-{number}") == "offline"
        app.done("attach", user="ann", device="web")
        assert json.loads(waiting.connection.getresponse().read())["met"] is True


def test_a_server_that_starts_says_so(server: Asked, app: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.door, "_is_starting", lambda: True)
    answered = app.ask("who")
    assert (answered.status, answered.said["code"]) == (503, "starting")
    assert app.send("GET", "/v1/openapi.json").status == 200
