"""URLs of webhooks: what is taken for one, and that nothing can be read in two ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from presenced.config.faults import Fault
from presenced.config.receiver import Receiver, parse_receiver
from tests.config.making import faults, loaded


@pytest.mark.parametrize(
    ("url", "receiver", "authority"),
    [
        ("https://app.example.org", Receiver("https", "app.example.org", 443, "/"), "app.example.org"),
        ("https://App.Example.ORG:443/In?k=V", Receiver("https", "app.example.org", 443, "/In?k=V"), "app.example.org"),
        ("http://localhost:8080/a%20b", Receiver("http", "localhost", 8080, "/a%20b"), "localhost:8080"),
        ("https://[2001:DB8::1]:8443/", Receiver("https", "2001:db8::1", 8443, "/"), "[2001:db8::1]:8443"),
        ("https://192.0.2.7?q", Receiver("https", "192.0.2.7", 443, "/?q"), "192.0.2.7"),
        (
            "https://xn--bcher-kva.example.",
            Receiver("https", "xn--bcher-kva.example.", 443, "/"),
            "xn--bcher-kva.example.",
        ),
        ("https://my_host/", Receiver("https", "my_host", 443, "/"), "my_host"),
    ],
)
def test_taken(url: str, receiver: Receiver, authority: str) -> None:
    assert parse_receiver(url) == receiver
    assert receiver.authority == authority
    assert receiver.origin == f"{receiver.scheme}://{authority}"


@pytest.mark.parametrize(
    "url",
    [
        "app.example.org/in",
        "//app.example.org/",
        "ftp://app.example.org/",
        "file:///etc/passwd",
        "https:///in",
        "https://",
        "https://user:hunter2@app.example.org/",
        "https://app.example.org@evil.example/",
        "https://app.example.org\\@evil.example/",
        "https://app.example.org/#fragment",
        "https://app.example.org:0/",
        "https://app.example.org:/",
        "https://app.example.org:65536/",
        "https://app.example.org:x/",
        "https://app.example.org/a b",
        "https://app.example.org/\r\nHost: evil",
        "https://app.example.org/\x7f",
        "https://b\u00fccher.example/",
        "https://-a.example/",
        "https://a..example/",
        "https://" + "a" * 64 + ".example/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://[1.2.3]/",
        "https://exa mple.org/",
        "https://a.example/" + "x" * 2048,
    ],
)
def test_refused(url: str) -> None:
    with pytest.raises(Fault) as caught:
        parse_receiver(url)
    assert "hunter2" not in str(caught.value)


SECRETS = "secret_file = '/s'\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("url = 'https://a.example/'", "needs webhooks.secret_file"),
        (SECRETS + "url = 'http://a.example/'", "is http://, which everybody on the way can read"),
        (SECRETS + "retry = '10m'", "is longer than webhooks.retry_max"),
        (SECRETS + "users = ['a*b']", 'has "a*b", which is no pattern'),
        (SECRETS + "users = ['a,b']", "is not a list of patterns"),
        (SECRETS + "kinds = ['onlin']", "did you mean online?"),
        (SECRETS + "concurrency = 65", "is out of range"),
        (SECRETS + "timeout = '10'", "has no unit"),
        (SECRETS + "url = 'https://eve:hunter2@a.example/'", "the value of webhooks.url has a user name or a password"),
    ],
)
def test_faults_of_a_file(tmp_path: Path, text: str, fault: str) -> None:
    (said,) = faults(f"[auth]\ndev = true\n[webhooks]\n{text}\n", tmp_path)
    assert fault in said and "hunter2" not in said


def test_a_file_with_everything(tmp_path: Path) -> None:
    text = f"[webhooks]\n{SECRETS}url = 'http://[::1]:8080/'\nallow_private = true\nkinds = ['online', 'offline']\n"
    text += "users = ['*@acme', 'bob', 'support-*']\nbatch = 20\ngive_up_after = '2h'\nca_file = '/ca'\n"
    found = loaded(f"[auth]\ndev = true\n{text}", tmp_path).settings
    assert (found.webhooks_url, found.webhooks_batch, found.webhooks_ca_file) == ("http://[::1]:8080/", 20, "/ca")
    assert found.webhooks_kinds == ("online", "offline")
    assert found.webhooks_users == ("*@acme", "bob", "support-*")
    assert found.webhooks_give_up_after_ms == 7_200_000
