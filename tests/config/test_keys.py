"""The table of keys: it agrees with `Settings`, with the command, and with itself."""

from __future__ import annotations

import re
import tomllib

import msgspec
import pytest
from click.testing import CliRunner

from presenced.cli.daemon import main
from presenced.config import KEYS, Key, Settings
from presenced.config.keys import IDLE, SECTIONS
from presenced.config.rules import validate
from presenced.config.settings import SettingsError

RELOADABLE = {
    *("log.level", "log.format", "listen.max_links", "listen.rate", "listen.tls_cert", "listen.tls_key"),
    *("auth.secret_file", "presence.grace", "change.spacing", "change.burst", "drain.spread", "drain.timeout"),
    *("storage.snapshot_every", "storage.snapshot_log", "limits.memory", "http.hosts"),
    *("channels.join", "channels.watch"),
    *("auth.keys", "auth.issuer", "auth.audience"),
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
    assert by_name[IDLE].env == "PRESENCED_PRESENCE__IDLE"


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_default_is_within_bounds_and_is_read_back(key: Key) -> None:
    default = getattr(Settings(), key.field)
    key.kind.check(default)
    assert key.kind.read_text(key.kind.text(default)) == default
    if key.name != IDLE:
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


def test_idle_times_as_numbers() -> None:
    assert Settings(idle=("mobile=10m,0", "tv=1h,2h")).idle_by_kind() == {
        "mobile": (600_000, 0),
        "tv": (3_600_000, 7_200_000),
    }
    with pytest.raises(SettingsError, match="presence.idle is not two durations"):
        Settings(idle=("mobile=10m",)).idle_by_kind()
    with pytest.raises(SettingsError, match="HOST:PORT"):
        Settings(listen="x").address()
