"""What the README says of several machines: settings, rights and figures are those of the program."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from presenced import limits
from presenced.backplane.library import ACL_LINE
from presenced.config.engine_url import parse_engine
from presenced.config.keys import BY_NAME
from presenced.config.loader import take_survey
from presenced.server.clustering.status import ENGINE_AWAY_MS_MAX
from tests.config.making import written

README = (Path(__file__).parents[2] / "README.md").read_text()
SILENT_MS = limits.CLUSTER_LEASE_MS + limits.RESTART_GRACE_MS
"""For so long nobody is told offline whose home has died."""

CHAPTER = README.partition("\n### More than one machine\n")[2].partition("\n## ")[0]


def test_every_setting_that_it_names_is_one() -> None:
    named = set(re.findall(r"`((?:cluster|http|listen|limits|webhooks)\.\w+)", CHAPTER))
    assert named <= BY_NAME.keys()
    assert {
        "cluster.node",
        "cluster.ack",
        "cluster.prefix",
        "cluster.nodes",
        "listen.shared",
        "http.own_address",
    } <= named


def test_its_configuration_is_taken(tmp_path: Path) -> None:
    [text] = re.findall(r"^```toml\n(.*?)^```", CHAPTER, re.M | re.S)
    survey = take_survey({"dev": True}, {}, written(tmp_path / "c.toml", text))
    settings = survey.loaded.settings
    assert not survey.faults
    assert settings.cluster_url == tomllib.loads(text)["cluster"]["url"] and settings.cluster_password_file
    others = re.findall(r"(?:redis|unix|redis\+sentinel)://[\w,/]+", text.partition("# or ")[2])
    assert len(others) == 3
    for url in others:
        parse_engine(url.rstrip(","))


def test_the_rights_that_it_gives_are_those_that_are_needed() -> None:
    assert ACL_LINE in CHAPTER.splitlines()


@pytest.mark.parametrize(
    "phrase",
    [
        f"After {limits.CLUSTER_LEASE_MS // 1000} to {limits.CLUSTER_LEASE_MS // 1000 + 2} s its users have a new home",
        f"{SILENT_MS // 1000} to {(SILENT_MS + limits.RESTART_SPREAD_MS) // 1000 + 2} s after the death",
        f"`/readyz` is 503 after {ENGINE_AWAY_MS_MAX // 1000} s",
    ],
)
def test_its_figures_are_those_of_the_program(phrase: str) -> None:
    assert phrase in CHAPTER
