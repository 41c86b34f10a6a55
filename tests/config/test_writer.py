"""The commented file and the printed settings give back what they were made from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from presenced.config import KEYS, Settings
from presenced.config.loader import take_survey
from presenced.config.sources import Origin
from presenced.config.writer import default_text, settings_text
from tests.config.any_settings import ANY
from tests.config.making import written


def test_the_default_file_as_it_is_gives_the_defaults(tmp_path: Path) -> None:
    survey = take_survey({}, {}, written(tmp_path / "f.toml", default_text()))
    assert survey.values == ()
    assert survey.loaded.settings == Settings()
    assert set(survey.loaded.origins.values()) == {Origin("default")}


def test_the_default_file_with_every_line_uncommented_gives_them_too(tmp_path: Path) -> None:
    text, count = re.subn(r"^#(?! |$)", "", default_text(), flags=re.MULTILINE)
    keys = [key for key in KEYS if not key.is_table]
    assert count == len(keys)
    survey = take_survey({}, {}, written(tmp_path / "f.toml", text))
    assert survey.values == ()
    assert survey.loaded.settings == Settings()
    assert {name: origin.source for name, origin in survey.loaded.origins.items()} == {key.name: "file" for key in keys}


def test_the_example_of_idle_times_can_be_uncommented(tmp_path: Path) -> None:
    text = default_text().replace("# mobile = ", "mobile = ")
    assert take_survey({}, {}, written(tmp_path / "f.toml", text)).loaded.settings.idle == ("mobile=10m,0",)


def test_the_default_file_says_everything_of_each_key() -> None:
    flowing = " ".join(default_text().replace("\n#", " ").split())
    for key in KEYS:
        assert " ".join(key.doc.split()) in flowing
        assert f"Allowed: {key.kind.allowed}." in flowing
        effect = "reload" if key.reloadable else "restart"
        flag = f", option {key.flag}" if key.flag else ""
        assert f"Variable {key.env}{flag}. A change needs a {effect}." in flowing
    assert max(len(line) for line in default_text().splitlines()) <= 100


def test_where_each_value_comes_from(tmp_path: Path) -> None:
    path = written(tmp_path / "f.toml", '[listen]\nrate = 3\n[presence.idle]\n"a.b" = "1m,0"\n')
    loaded = take_survey({"grace": 5}, {"PRESENCED_LOG__LEVEL": "debug"}, path).loaded
    lines = settings_text(loaded.settings, loaded.origins).splitlines()
    assert f"rate = 3  # {path}:2" in lines
    assert f'"a.b" = "1m,0"  # {path}:4' in lines
    assert 'grace = "5ms"  # --grace' in lines
    assert 'level = "debug"  # PRESENCED_LOG__LEVEL' in lines
    assert "burst = 10  # default" in lines
    assert "#" not in settings_text(loaded.settings)


def test_the_strategy_knows_every_field() -> None:
    assert list(ANY) == [field.name for field in msgspec.structs.fields(Settings)]


@given(st.fixed_dictionaries(ANY))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_shown_is_loaded_as_the_same(tmp_path: Path, fields: dict[str, Any]) -> None:
    settings = Settings(**fields)
    survey = take_survey({}, {}, written(tmp_path / "f.toml", settings_text(settings, {})))
    assert survey.values == ()
    assert survey.loaded.settings == settings


@given(st.fixed_dictionaries(ANY))
def test_the_same_through_the_environment(fields: dict[str, Any]) -> None:
    settings = Settings(**fields)
    environ = {key.env: key.kind.text(getattr(settings, key.field)) for key in KEYS}
    survey = take_survey({}, environ, "/dev/null")
    assert survey.values == ()
    assert survey.loaded.settings == settings
