"""What the settings and their files give, and that all faults of the files are told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from presenced.config.settings import Settings, SettingsError
from presenced.webhooks.plan import read_plan
from tests.support.certificates import make_certificate
from tests.webhooks.receiver import SECRET, SECRET_LINE


def settings(folder: Path, **chosen: object) -> Settings:
    (folder / "secrets").write_text(SECRET_LINE)
    fields = {"url": "https://app.example.org/", "secret_file": str(folder / "secrets"), **chosen}
    return Settings(**{f"webhooks_{name}": value for name, value in fields.items()})  # type: ignore[arg-type]


def test_no_url_is_no_plan(tmp_path: Path) -> None:
    assert read_plan(settings(tmp_path, url="")) is None


def test_a_plan(tmp_path: Path) -> None:
    cert, _ = make_certificate(tmp_path, "ca")
    plan = read_plan(settings(tmp_path, ca_file=str(cert), users=("bob",), kinds=("online",)))
    assert plan is not None and plan.secrets == (SECRET,)
    assert plan.way.context is not None
    assert plan.way.context.cert_store_stats()["x509"] == 1, "only those of the file vouch"
    assert plan.users.match("bob") and not plan.users.match("alice")


def test_without_tls_there_is_no_context(tmp_path: Path) -> None:
    plan = read_plan(settings(tmp_path, url="http://localhost:8080/", allow_private=True))
    assert plan is not None and plan.way.context is None


def test_all_faults_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing")
    with pytest.raises(SettingsError) as caught:
        read_plan(settings(tmp_path, secret_file=str(tmp_path / "none"), ca_file=str(tmp_path / "ca")))
    missing, empty = caught.value.faults
    assert "does not exist" in missing and "holds no certificate in PEM" in empty
    with pytest.raises(SettingsError, match=r"webhooks.ca_file .*absent does not exist"):
        read_plan(settings(tmp_path, ca_file=str(tmp_path / "absent")))
