"""The table of keys: it agrees with `Settings`, with the command, and with itself."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from presenced.cli.daemon import main
from presenced.config import KEYS, Key, Settings
from presenced.config.keys import SECTIONS
from presenced.config.rules import validate
from presenced.config.settings import SettingsError

RELOADABLE = {
    *("log.level", "log.format", "listen.max_links", "listen.rate", "listen.tls_cert", "listen.tls_key"),
    *(
        "auth.secret_file",
        "presence.grace",
        "presence.kind_grace",
        "change.spacing",
        "change.burst",
        "drain.spread",
        "drain.timeout",
    ),
    *(
        "storage.snapshot_every",
        "storage.snapshot_log",
        "limits.memory",
        "http.hosts",
        "http.origins",
        "http.pages",
        "http.trusted_proxies",
    ),
    *("channels.join", "channels.watch"),
    *("auth.keys", "auth.issuer", "auth.audience"),
    *(f"webhooks.{last}" for last in ("url", "secret_file", "ca_file", "kinds", "users", "batch", "concurrency")),
    *(f"webhooks.{last}" for last in ("timeout", "retry", "retry_max", "give_up_after", "allow_private")),
}


def test_every_setting_has_one_key_and_every_key_a_setting() -> None:
    assert sorted(key.field for key in KEYS) == sorted(field.name for field in msgspec.structs.fields(Settings))


def test_names_variables_and_flags_are_each_of_one_key() -> None:
    for names in ([key.name for key in KEYS], [key.env for key in KEYS], [key.flag for key in KEYS if key.flag]):
        assert len(set(names)) == len(names)
    assert {key.section for key in KEYS} == set(SECTIONS)
    assert {key.name for key in KEYS if key.reloadable} == RELOADABLE


def test_an_environment_variable_is_the_key_in_capitals() -> None:
    by_name = {key.name: key for key in KEYS}
    assert by_name["listen.tls_cert"].env == "PRESENCED_LISTEN__TLS_CERT"
    assert by_name["presence.idle"].env == "PRESENCED_PRESENCE__IDLE"


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_default_is_within_bounds_and_is_read_back(key: Key) -> None:
    default = getattr(Settings(), key.field)
    key.kind.check(default)
    assert key.kind.read_text(key.kind.text(default)) == default
    if not key.is_table:
        assert key.kind.read(tomllib.loads(f"k = {key.kind.toml(default)}")["k"]) == default
    assert key.doc.endswith(".") and key.kind.allowed


def test_the_help_of_serve_tells_every_flag_and_its_default() -> None:
    said = " ".join(CliRunner().invoke(main, ["serve", "--help"], terminal_width=100).output.split())
    assert "--config FILE" in said
    for key in KEYS:
        if not key.flag:
            continue
        assert re.search(rf" {key.flag}[ ,]", said), key.flag
        default = key.kind.text(getattr(Settings(), key.field))
        # The next option begins after the default; in between is this one's own text.
        own = said.partition(f" {key.flag} ")[2].partition(" --")[0]
        if default and default != "false":
            assert f"[default: {default}]" in own, key.flag
        else:
            assert "[default" not in own, key.flag


def test_the_examples_of_addresses_can_be_used_together() -> None:
    ports = re.findall(r"such as 127\.0\.0\.1:([0-9]+)", " ".join(key.kind.allowed for key in KEYS))
    assert len(ports) == len(set(ports)) == 3


def test_a_program_s_settings_are_held_to_the_same_bounds() -> None:
    with pytest.raises(SettingsError) as caught:
        validate(Settings(dev=True, heartbeat_ms=9, change_burst=0, listen="x", drain_timeout_ms=3_600_001))
    assert caught.value.faults == (
        "listen.address is not HOST:PORT; give HOST:PORT, such as 127.0.0.1:5250",
        'heartbeat.interval is out of range; give a duration from 10ms to 366d, such as "30s"',
        "change.burst is out of range; give a whole number from 1 to 1000",
        'drain.timeout is out of range; give a duration from 0 to 1h, such as "20s"',
    )
    with pytest.raises(SettingsError, match="no setting says how to check who a client is"):
        validate(Settings())
    validate(Settings(dev=True))


def test_times_of_kinds_as_numbers() -> None:
    assert Settings(idle=("mobile=10m,0", "tv=1h,2h")).idle_by_kind() == {
        "mobile": (600_000, 0),
        "tv": (3_600_000, 7_200_000),
    }
    with pytest.raises(SettingsError, match="presence.idle is not two durations"):
        Settings(idle=("mobile=10m",)).idle_by_kind()
    assert Settings(kind_grace=("mobile=2m", "tv=0")).grace_by_kind() == {"mobile": 120_000, "tv": 0}
    with pytest.raises(SettingsError, match="presence.kind_grace has no unit"):
        Settings(kind_grace=("mobile=10",)).grace_by_kind()
    with pytest.raises(SettingsError, match="HOST:PORT"):
        Settings(listen="x").address()


FLAPS = [
    ({"heartbeat_ms": 300_000}, "heartbeat.interval is 5m and presence.away_after is 5m", "away from 5m after"),
    ({"heartbeat_ms": 301_000}, "heartbeat.interval is 5m1s and presence.away_after is 5m", "away from 5m after"),
    ({"away_after_ms": 20_000}, "heartbeat.interval is 30s and presence.away_after is 20s", "away from 20s after"),
    ({"offline_after_ms": 30_000}, "heartbeat.interval is 30s and presence.offline_after is 30s", "offline from 30s"),
    ({"idle": ("tv=10s,0",)}, "heartbeat.interval is 30s and presence.idle is 10s", "away on devices of the kind tv"),
    ({"idle": ("pc=1h,2h", "tv=0,9s")}, "presence.idle is 9s", "offline on devices of the kind tv from 9s"),
]


@pytest.mark.parametrize(("given", "says", "who"), FLAPS)
def test_an_idle_time_that_is_over_before_the_next_heartbeat_is_refused(
    given: dict[str, Any], says: str, who: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        validate(Settings(dev=True, **given))
    [fault] = caught.value.faults
    assert says in fault and who in fault and "make the interval shorter, or the idle time longer" in fault


@pytest.mark.parametrize(
    "given",
    [
        {"heartbeat_ms": 299_999},
        {"away_after_ms": 0, "offline_after_ms": 0, "heartbeat_ms": 3_600_000},
        {"idle": ("tv=0,0", "pc=31s,0")},
    ],
)
def test_one_that_is_longer_than_the_interval_is_not(given: dict[str, Any]) -> None:
    validate(Settings(dev=True, **given))
