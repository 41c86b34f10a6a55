"""What an operator is told without asking, also where nobody says anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from presenced.ops import operations
from tests.support.certificates import make_certificate
from tests.support.in_process import InProcess


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "SAMPLE_S", 0.01)


def test_a_certificate_that_comes_to_its_end_is_warned_of_each_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = make_certificate(tmp_path, "used")
    day_ms = operations.CERTIFICATE_CHECK_MS
    days = 0
    look = operations.Operations._check_certificate
    monkeypatch.setattr(
        operations.Operations, "_check_certificate", lambda self, now_ms: look(self, now_ms + days * day_ms)
    )
    with InProcess(tls_cert=str(cert), tls_key=str(key)) as server:
        said = f"TLS: the certificate {cert} expires in less than a day; renew it, then reload"
        for days in range(1, 4):
            server.until(lambda _, times=days: caplog.text.count(said) == times)  # type: ignore[misc]
