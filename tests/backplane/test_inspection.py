"""How engines are named, what they say of themselves, and the names of what we keep in them."""

from __future__ import annotations

import ssl

import pytest

from presenced.backplane.access import EngineAccess
from presenced.backplane.errors import Refused, Unreachable
from presenced.backplane.inspection import inspect, read_info
from presenced.backplane.library import ACL_LINE, LIBRARY, LIBRARY_SOURCE, keys_of, library_of
from tests.support import REPOSITORY


def test_an_access_shows_no_secret() -> None:
    whole = EngineAccess((("a", 1), ("::1", 2)), service="home", user="me", password="secret", database=3)
    assert str(whole) == "redis+sentinel://a:1,[::1]:2/home"
    assert repr(whole) == "<redis+sentinel://a:1,[::1]:2/home>"
    assert str(EngineAccess((("h", 1),), tls=ssl.create_default_context(), password="secret")) == "rediss://h:1"
    assert str(EngineAccess(path="/run/redis.sock", user="me", password="secret")) == "unix:///run/redis.sock"


@pytest.mark.parametrize("prefix", ["", "{x}", "a b", "a*", "ü", "x" * 65, "a\n"])
def test_what_is_no_prefix(prefix: str) -> None:
    with pytest.raises(Refused, match="prefix"):
        keys_of(prefix)


def test_all_keys_have_one_hash_tag() -> None:
    keys = keys_of("chat:eu")
    every = [keys.prefix, keys.state, keys.log, keys.nodes, keys.parcel(7, 8)]
    assert all(key.startswith("{chat:eu}:") for key in every)
    assert len(set(every)) == 5


def test_another_text_of_the_library_has_other_names() -> None:
    other = library_of(LIBRARY_SOURCE + "\n")
    assert other.function("join") != LIBRARY.function("join")
    assert "VERSION" not in LIBRARY.text.replace("LIBRARY_VERSION", "")
    assert f"name=presenced_{LIBRARY.version}\n" in LIBRARY.text


def test_the_readme_says_what_a_user_of_the_engine_needs() -> None:
    assert f"\n{ACL_LINE}\n" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"redis_version": "6.2.14"}, "old_engine"),
        ({"redis_version": "7.0.0"}, ""),
        ({"redis_version": "10.1.2"}, ""),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, "old_engine"),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.1"}, ""),
        ({"redis_version": "unstable"}, "old_engine"),
        ({"role": "slave"}, "replica"),
        ({"maxmemory_policy": "allkeys-lru"}, "evicts"),
        ({"maxmemory_policy": "volatile-ttl"}, ""),
        ({"redis_mode": "cluster"}, "sharded"),
        ({"redis_mode": "sentinel"}, "is_sentinel"),
        ({"server_mode": "sentinel"}, "is_sentinel"),
    ],
)
def test_what_engines_say_of_themselves(change: dict[str, str], code: str) -> None:
    info = {"redis_version": "7.0.15", "role": "master", "maxmemory_policy": "noeviction"}
    said = read_info("\r\n".join(f"{key}:{value}" for key, value in (info | change).items()).encode())
    if code:
        with pytest.raises(Refused) as raised:
            inspect(said, by_sentinel=False)
        assert raised.value.code == code
    else:
        found = inspect(said, by_sentinel=False)
        assert (found.role, found.eviction) == ("master", change.get("maxmemory_policy", "noeviction"))
        assert str(found) == ("Valkey 8.0.1" if "valkey_version" in change else f"Redis {found.version}")


def test_what_passes_by_itself() -> None:
    info = {"redis_version": "7.0.15", "role": "master", "loading": "1"}
    with pytest.raises(Unreachable, match="loading"):
        inspect(info, by_sentinel=False)
    with pytest.raises(Unreachable, match="sentinels"):
        inspect({"redis_version": "7.0.15", "role": "slave"}, by_sentinel=True)
