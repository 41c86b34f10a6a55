"""The settings of a cluster: what is taken for the URL of an engine, and which combinations cannot work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from presenced.backplane.opener import NO_LIBRARY
from presenced.cli.config import concerns
from presenced.cli.preflight import all_faults
from presenced.config import Settings, SettingsError
from presenced.config.engine_url import EngineParts, name_of, parse_engine
from presenced.config.faults import Fault
from presenced.config.keys import BY_NAME
from presenced.config.loader import take_survey
from presenced.server import engine_access
from presenced.server.engine_access import engine_tls, faults_of_access, read_password
from tests.config.making import faults, loaded, written
from tests.support.certificates import make_certificate

DEV = "[auth]\ndev = true\n"


@pytest.mark.parametrize(
    ("url", "engine", "address"),
    [
        ("redis://h", EngineParts((("h", 6379),), "", "", "", 0, False), "redis://h:6379"),
        ("redis://h/", EngineParts((("h", 6379),), "", "", "", 0, False), "redis://h:6379"),
        (
            "redis://node@10.0.0.5:7/3",
            EngineParts((("10.0.0.5", 7),), "", "", "node", 3, False),
            "redis://10.0.0.5:7",
        ),
        ("rediss://[::1]", EngineParts((("::1", 6379),), "", "", "", 0, True), "rediss://[::1]:6379"),
        ("rediss://[::1]:7/9", EngineParts((("::1", 7),), "", "", "", 9, True), "rediss://[::1]:7"),
        ("unix:///run/a.sock", EngineParts((), "/run/a.sock", "", "", 0, False), "unix:///run/a.sock"),
        ("unix://me@/run/a%20b?db=2", EngineParts((), "/run/a b", "", "me", 2, False), "unix:///run/a b"),
        (
            "redis+sentinel://a,b:7,[::1]/presence",
            EngineParts((("a", 26379), ("b", 7), ("::1", 26379)), "", "presence", "", 0, False),
            "redis+sentinel://a:26379,b:7,[::1]:26379/presence",
        ),
        (
            "rediss+sentinel://u@a/s/4",
            EngineParts((("a", 26379),), "", "s", "u", 4, True),
            "rediss+sentinel://a:26379/s",
        ),
    ],
)
def test_an_engine_is_read(url: str, engine: EngineParts, address: str) -> None:
    assert parse_engine(url) == engine
    assert engine.address == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("h:6379", "begins with none of"),
        ("http://h", "begins with none of"),
        ("redis://", "no HOST or HOST:PORT"),
        ("redis://h:0", "no HOST or HOST:PORT"),
        ("redis://h:99999", "no HOST or HOST:PORT"),
        ("redis://::1", "no HOST or HOST:PORT"),
        ("redis://a,b", "has several hosts"),
        ("redis://h/x", "number of a database"),
        ("redis://h/-1", "number of a database"),
        ("redis://h/65536", "number of a database"),
        ("redis://h?db=1", "has a query"),
        ("redis://h#1", "has a query"),
        ("redis://u:secret@h", "cluster.password_file"),
        ("redis://:secret@h", "cluster.password_file"),
        ("redis://@h", "empty user name"),
        ("redis://a b", "printable ASCII"),
        ("redis://h\u00e9", "printable ASCII"),
        ("redis://" + "h" * 2048, "printable ASCII"),
        ("unix://run/a", "no absolute path"),
        ("unix:///run/", "no absolute path"),
        ("unix:///a?x=1", "number of a database"),
        ("redis+sentinel://a,b", "how the Sentinels call the engine"),
        ("redis+sentinel://a,,b/s", "no HOST or HOST:PORT"),
        ("redis+sentinel://" + ",".join("abcdefghijklmnopqrstuvwxyzabcdefg") + "/s", "more than 32 Sentinels"),
    ],
)
def test_what_is_no_engine_is_refused_and_its_password_not_repeated(url: str, why: str) -> None:
    with pytest.raises(Fault, match=why) as caught:
        parse_engine(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://:s3/cr@t@h", "redis://u:s3/cr@t@h:1", "http://u:s3/cr@t@h"])
@pytest.mark.parametrize("option", ["cluster", "storage"])
def test_the_whole_message_does_not_repeat_it(option: str, url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(DEV, tmp_path, **{option: url})
    assert "://***@h" in str(caught.value) and "cr@t" not in str(caught.value)


@pytest.mark.parametrize(("option", "section"), [("cluster", "cluster"), ("storage", "storage")])
def test_what_to_do_about_a_password_is_not_followed_by_what_an_url_is(
    option: str, section: str, tmp_path: Path
) -> None:
    [fault] = faults(DEV, tmp_path, **{option: "redis://x:wrong@h"})
    file = f"{section}.password_file (PRESENCED_{section.upper()}__PASSWORD_FILE)"
    assert fault.endswith(f"would show; write it into a file, and name that as {file}")
    [fault] = faults(DEV, tmp_path, **{option: "redis://a,b"})
    assert fault.endswith("those of one engine with Sentinels are redis+sentinel://h1,h2/service")
    [fault] = faults(DEV, tmp_path, **{option: "http://h"})
    assert 'give a URL such as "redis://10.0.0.5"' in fault


def test_a_node_is_named_after_the_machine_or_as_it_is_told(tmp_path: Path) -> None:
    assert [name_of(name) for name in ("web-1.example.org", "_a b\u00e9", "", "-" * 9)] == [
        *("web-1.example.org", "a-b-", "node", "node")
    ]
    assert len(name_of("x" * 99)) == 64
    assert loaded(DEV, tmp_path, cluster="redis://h", node="a").settings.node_name == "a"
    assert Settings().node_name


@pytest.mark.parametrize("name", ["a b", "\u00e9", "-a", "a/b", "x" * 65])
def test_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    [fault] = faults(DEV, tmp_path, node=name)
    assert fault.startswith("--node: cluster.node = ") and "is no name for a node; give 1 to 64 letters" in fault


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        ("", {"cluster": "redis//h"}, '--cluster: cluster.url = "redis//h" begins with none of redis://'),
        (
            "",
            {"shared": True},
            "--shared lets several daemons take the clients of one address, and without cluster.url",
        ),
        (
            'lease = "6s"',
            {"cluster": "redis://h"},
            'FILE:4: cluster.lease = "6s" is out of range; give a duration from 7s to 5m',
        ),
        ('lease = "1s"', {}, 'FILE:4: cluster.lease = "1s" is out of range; give a duration from 7s to 5m'),
        (
            'tls_ca = "/a"',
            {"cluster": "redis://h"},
            "cluster.tls_ca (FILE:4) is for TLS, and --cluster has none; begin",
        ),
        ('tls_key = "/a"', {"cluster": "rediss://h"}, "cluster.tls_key (FILE:4) and cluster.tls_cert go together"),
        (
            "",
            {"cluster": "redis://me@h"},
            "--cluster names the user 'me'; give the password, too, in cluster.password_file",
        ),
        ('prefix = "{a}"', {}, 'FILE:4: cluster.prefix = "{a}" is no name; give 1 to 64'),
        ("", {"nodes": 65}, "--nodes: cluster.nodes = 65 is out of range"),
        ('nodes = 3\n[http]\naddress = "127.0.0.1:5248"', {}, "have the HTTP ports 5249 to 5251, and listen.address"),
        ('nodes = 3\n[http]\naddress = "127.0.0.1:0"', {}, "has port 0, so that nobody would find each of 3 nodes"),
        (
            'nodes = 3\n[http]\naddress = "127.0.0.1:65533"',
            {},
            "have the HTTP ports 65534 to 65536, and there are none above",
        ),
        (
            '[http]\nown_address = "127.0.0.1:1"',
            {},
            "http.own_address (FILE:5) is one more address, and http.address",
        ),
        (
            '[http]\naddress = "127.0.0.1:1"\nown_address = "127.0.0.1:1"',
            {},
            "http.own_address (FILE:6) is the address that http.address (FILE:5) has",
        ),
    ],
)
def test_what_cannot_work_is_said(tmp_path: Path, text: str, given: dict[str, object], said: str) -> None:
    [fault] = faults(f"{DEV}[cluster]\n{text}\n", tmp_path, **given)
    assert said in fault


def test_the_shortest_lease_that_is_allowed_is_taken(tmp_path: Path) -> None:
    assert not faults(f'{DEV}[cluster]\nlease = "7s"\nurl = "redis://h"\n', tmp_path)
    assert '"a duration from 7s to 5m' in f'"{BY_NAME["cluster.lease"].kind.allowed}'


def test_without_the_library_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_access.importlib.util, "find_spec", lambda name: None)
    survey = take_survey({"cluster": "redis://h"}, {}, written(tmp_path / "f.toml", DEV))
    assert all_faults(survey) == [NO_LIBRARY]
    assert "pip install 'presenced[cluster]'" in NO_LIBRARY
    assert not all_faults(take_survey({}, {}, written(tmp_path / "f.toml", DEV)))


def test_the_files_of_the_engine_are_read(tmp_path: Path) -> None:
    password = tmp_path / "password"
    given = Settings(dev=True, cluster_url="rediss://h", cluster_password_file=str(password))
    assert f"cluster.password_file {password} does not exist" in faults_of_access(given)
    for content, said in ((b"\nx\n", "has no password in its first line"), (b"\xff", "is not text in UTF-8")):
        password.write_bytes(content)
        assert any(said in fault for fault in faults_of_access(given))
    password.write_bytes(b"a secret\r\nmore\n")
    assert read_password(given) == "a secret"
    assert read_password(Settings()) == ""


def test_the_tls_of_the_engine(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "engine")
    ours = Settings(
        cluster_url="rediss://h", cluster_tls_ca=str(cert), cluster_tls_cert=str(cert), cluster_tls_key=str(key)
    )
    context = engine_tls(ours)
    assert context is not None and context.check_hostname and context.cert_store_stats()["x509"] == 1
    assert engine_tls(Settings(cluster_url="redis://h")) is None
    odd = tmp_path / "odd"
    odd.write_text("no PEM")
    assert "has no certificates in PEM" in str(_said(Settings(cluster_url="rediss://h", cluster_tls_ca=str(odd))))
    swapped = Settings(cluster_url="rediss://h", cluster_tls_cert=str(key), cluster_tls_key=str(cert))
    assert "are no certificate and its key" in str(_said(swapped))
    missing = Settings(cluster_url="rediss://h", cluster_tls_ca=str(tmp_path / "none"))
    assert "does not exist" in str(_said(missing))


def _said(settings: Settings) -> list[str]:
    return [fault for fault in faults_of_access(settings) if fault != NO_LIBRARY]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(dev=True, cluster_url="redis://10.0.0.5"), "without TLS"),
        (Settings(dev=True, cluster_url="rediss://10.0.0.5"), "without a password"),
        (Settings(dev=True, cluster_url="rediss://10.0.0.5", cluster_password_file="/p"), ""),
        (Settings(dev=True, cluster_url="redis://127.0.0.1"), ""),
        (Settings(dev=True, cluster_url="unix:///run/a"), ""),
    ],
)
def test_an_engine_that_others_could_write_to_is_a_concern(settings: Settings, said: str) -> None:
    found = [sentence for sentence in concerns(settings) if "10.0.0.5" in sentence]
    assert (said in found[0]) if said else not found


ALONE = """
import asyncio, sys
from presenced.cli import daemon
from presenced.config import Settings
from presenced.ops.operations import Operations
from presenced.server.server import Server
async def live():
    server = Server(Settings(dev=True, listen="127.0.0.1:0", http="127.0.0.1:0"))
    await server.start(Operations(server))
    await server.stop()
asyncio.run(live())
print([name for name in sys.modules if name.split(".")[0] in ("redis", "hiredis")
       or name.startswith(("presenced.cluster", "presenced.backplane", "presenced.nodes"))
       or name.startswith("presenced.server.clustering.")
       and name != "presenced.server.clustering.status"])
"""


def test_a_daemon_alone_imports_nothing_of_a_cluster() -> None:
    found = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n", found.stderr
