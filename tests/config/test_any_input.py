"""Whatever is given: settings within their bounds, or one fault for each bad key, and never another exception."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from presenced.config import KEYS, Key, SettingsError, load
from presenced.config.faults import Fault
from presenced.config.keys import BY_NAME
from presenced.config.loader import take_survey
from presenced.config.rules import broken_bounds, validate
from tests.config.making import spelled, written
from tests.support.tiers import samples

PLAIN = [key for key in KEYS if not key.is_table]

TEXTS = st.sampled_from(
    ["", "0", "1", "30s", "64MiB", "x:1", "127.0.0.1:0", "auto", "always", "off", "0660", "true", "/p", "1m,0", "info"]
) | st.text("ab0159:.,=;-_/'\"\\#\n\u0663\u00e9\U0001f600 credntial", max_size=12)
SCALARS = (
    TEXTS
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.sampled_from([0, 1, 10, 1000])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.just(datetime.date(1979, 5, 27))
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), SCALARS, max_size=2)
NAMES = st.sampled_from([key.name for key in PLAIN] * 3 + ["listen.adress", "log.x", "auth.\u00e9"])
GIVEN = st.dictionaries(NAMES, VALUES, max_size=8)


def is_bad(name: str, value: object) -> bool:
    """Whether the value of this key must be a fault, by asking its kind alone."""
    key = BY_NAME.get(name)
    if key is None:
        return True
    try:
        return needs_unit(key, key.kind.read(value))
    except Fault:
        return True


def needs_unit(key: Key, value: object) -> bool:
    """Whether the value stands for a directory that only a unit gives: of credentials, or of state."""
    return str(value).startswith("credential:") or (key.name == "storage.directory" and value == "auto")


def as_file(given: dict[str, object]) -> str:
    """TOML, each key below the header of its section."""
    lines = []
    for section in dict.fromkeys(name.partition(".")[0] for name in given):
        lines.append(f"[{section}]")
        for name, value in given.items():
            if name.startswith(f"{section}."):
                lines.append(f"{spelled(name.partition('.')[2])} = {toml(value)}")
    return "\n".join(lines)


def toml(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime.date) else nested(value)


def nested(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    return spelled(value)


@given(GIVEN)
@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=samples(200)
)
def test_any_file(tmp_path: Path, given: dict[str, object]) -> None:
    path = written(tmp_path / "f.toml", as_file(given))
    survey = take_survey({}, {}, path)
    bad = [name for name, value in given.items() if is_bad(name, value)]
    assert len(survey.values) == len(bad), (bad, survey.values)
    for name in bad:
        assert sum(fault.startswith(f"{path}:") and f" {name}" in fault for fault in survey.values) >= 1
    assert all(fault.isprintable() for fault in survey.faults)
    assert broken_bounds(survey.loaded.settings) == []
    assert_loads_or_says_why({}, {}, path)


@given(
    st.dictionaries(st.sampled_from([key.env for key in KEYS] + ["PRESENCED_A__B", "PRESENCED_X"]), TEXTS, max_size=8)
)
def test_any_environment(environ: dict[str, str]) -> None:
    survey = take_survey({}, environ, "/dev/null")
    assert broken_bounds(survey.loaded.settings) == []
    at_fault = [name for name in environ if any(fault.startswith(f"{name}: ") for fault in survey.values)]
    assert ("PRESENCED_A__B" in at_fault) == ("PRESENCED_A__B" in environ)
    for key in PLAIN:
        if key.env in environ:
            assert (key.env in at_fault) == _is_bad_text(key, environ[key.env])
    assert_loads_or_says_why({}, environ, "/dev/null")


def _is_bad_text(key: Key, text: str) -> bool:
    try:
        return needs_unit(key, key.kind.read_text(text))
    except Fault:
        return True


@given(st.dictionaries(st.sampled_from([key.parameter for key in KEYS if key.flag]), VALUES | st.none(), max_size=8))
def test_any_options(flags: dict[str, Any]) -> None:
    survey = take_survey(flags, {}, "/dev/null")
    assert broken_bounds(survey.loaded.settings) == []
    assert all(fault.startswith("--") for fault in survey.values)
    assert_loads_or_says_why(flags, {}, "/dev/null")


@given(st.binary(max_size=60) | st.text("[]ab=.'\"\n#{}, 1", max_size=60).map(str.encode))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.toml"
    path.write_bytes(content)
    assert_loads_or_says_why({}, {}, str(path))


def assert_loads_or_says_why(flags: dict[str, Any], environ: dict[str, str], path: str) -> None:
    try:
        settings = load(flags, environ, path).settings
    except SettingsError as error:
        assert error.faults and all(fault.isprintable() for fault in error.faults)
        return
    validate(settings)
