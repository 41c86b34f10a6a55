"""Signatures, held against the example of the Standard Webhooks specification and against another implementation."""

from __future__ import annotations

from pathlib import Path

import pytest

from presenced.server.keys import SecretError
from presenced.webhooks.signatures import load_secrets, parse_secrets, sign
from tests.webhooks.signing import is_signed


def test_the_example_of_the_specification() -> None:
    (secret,) = parse_secrets(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "f")
    signature = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_secret_signs() -> None:
    secrets = [bytes([number]) * 24 for number in range(3)]
    headers = {"webhook-id": "evt_1_2", "webhook-timestamp": "5"}
    headers["webhook-signature"] = sign(secrets, "evt_1_2", 5, b"{}")
    assert all(is_signed(secret, headers, b"{}") for secret in secrets)
    assert not is_signed(secrets[0], headers, b"{ }")
    assert not is_signed(secrets[0], {**headers, "webhook-timestamp": "6"}, b"{}")
    assert not is_signed(b"x" * 24, headers, b"{}")


def test_a_secret_may_have_the_prefix_or_not() -> None:
    assert (
        len(parse_secrets(b"  whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw \r\n\nMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "f"))
        == 1
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"hunter2!\n", "line 1 of f is not base64"),
        (b"aHVudGVyMg==\n", "base64 of 7 bytes"),
        (b"A" * 100, "base64 of 75 bytes"),
        (b"\n".join(b"%032d" % number for number in range(6)), "at most 5"),
        (b"\xff\xfe" * 20, "line 1 of f is not base64"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(content: bytes, said: str) -> None:
    with pytest.raises(SecretError, match=said) as caught:
        parse_secrets(content, "f")
    assert "hunter2" not in str(caught.value) and "aHVud" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="does not exist; make one with"):
        load_secrets(str(tmp_path / "none"))
    with pytest.raises(SecretError, match="names no file"):
        load_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
