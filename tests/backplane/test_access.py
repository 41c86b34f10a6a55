"""From the settings of a cluster to a connection with its engine."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from presenced.backplane.access import EngineAccess
from presenced.config.settings import Settings
from presenced.server.engine_access import access_to_engine
from tests.support.certificates import make_certificate


@pytest.mark.parametrize(
    ("url", "access"),
    [
        ("redis://host", EngineAccess((("host", 6379),))),
        ("redis://me@[::1]:7/2", EngineAccess((("::1", 7),), user="me", database=2)),
        ("unix:///run/redis.sock?db=3", EngineAccess(path="/run/redis.sock", database=3)),
        ("redis+sentinel://a,b:1/home", EngineAccess((("a", 26379), ("b", 1)), service="home")),
    ],
)
def test_urls(url: str, access: EngineAccess, tmp_path: Path) -> None:
    assert access_to_engine(Settings(cluster_url=url)) == access
    file = tmp_path / "password"
    file.write_text("secret\n")
    with_password = access_to_engine(Settings(cluster_url=url, cluster_password_file=str(file)))
    assert with_password == access._replace(password="secret")
    assert "secret" not in f"{with_password} {with_password!r}"


def test_tls(tmp_path: Path) -> None:
    cert, _ = make_certificate(tmp_path, "engine")
    access = access_to_engine(Settings(cluster_url="rediss://host:1", cluster_tls_ca=str(cert)))
    assert isinstance(access.tls, ssl.SSLContext)
    assert str(access) == "rediss://host:1"
