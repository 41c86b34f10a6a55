"""The settings of a store in Redis: what cannot work together, and what is warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from presenced.backplane.access import EngineAccess
from presenced.cli.config import concerns
from presenced.config.loader import take_survey
from presenced.config.settings import Settings, SettingsError
from presenced.server.engine_access import access_to_engine


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"data_dir": "/var/x"}, "both say where the state is kept; leave one of them out"),
        ({"cluster": "redis://other"}, "keeps the state of a daemon that is alone"),
        ({"nodes": 2}, "keeps the state of a daemon that is alone"),
        (
            {"storage": "redis://me@h"},
            "--storage names the user 'me'; give the password, too, in storage.password_file",
        ),
        ({"storage": "http://h"}, "begins with none of redis://"),
    ],
)
def test_what_cannot_work_together(flags: dict[str, Any], text: str) -> None:
    given = {"dev": True, "storage": "redis://127.0.0.1", **flags}
    faults = take_survey(given, {}, "/dev/null").faults
    assert any(text in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ('tls_ca = "/a"', "storage.tls_ca (FILE:4) is for TLS, and storage.url (FILE:3) has none"),
        ('tls_key = "/a"', "storage.tls_key (FILE:4) and storage.tls_cert go together; storage.tls_cert is missing"),
    ],
)
def test_what_is_missing_beside_it(tmp_path: Path, lines: str, text: str) -> None:
    file = tmp_path / "f.toml"
    file.write_text(f'auth.dev = true\n[storage]\nurl = "redis://h"\n{lines}\n')
    faults = take_survey({}, {}, str(file)).faults
    assert any(text.replace("FILE", str(file)) in fault for fault in faults), faults


def test_access(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    settings = Settings(storage_url="redis://me@h/2", storage_password_file=str(file), cluster_url="redis://other")
    assert access_to_engine(settings, "storage") == EngineAccess(
        (("h", 6379),), user="me", password="secret", database=2
    )
    with pytest.raises(SettingsError, match="storage.password_file /nowhere does not exist"):
        access_to_engine(Settings(storage_url="redis://h", storage_password_file="/nowhere"), "storage")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (
            "redis://h",
            "redis://h:6379 is on the network without TLS, and whoever reads or writes there has the state of",
        ),
        (
            "rediss://h",
            "rediss://h:6379 is asked without a password, and whoever writes there has the state of everybody",
        ),
        ("redis://127.0.0.1", ""),
        ("unix:///run/redis.sock", ""),
    ],
)
def test_what_is_open_to_others(url: str, text: str) -> None:
    told = [sentence for sentence in concerns(Settings(storage_url=url, dev=True))]
    assert any(text in sentence for sentence in told) if text else not told
