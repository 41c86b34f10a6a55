"""The doctor's checks, one by one: each is shown a healthy server with one thing wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from presenced.config import Configuration, settings as config_settings
from presenced.config.settings import Settings
from presenced.ops import admin_messages
from presenced.ops.checks.access import is_private
from presenced.ops.doctor import CHECKS, Facts, Finding, diagnose
from presenced.ops.examination import facts_of
from presenced.ops.machine import memory, mode_of
from presenced.ops.reload import reload
from presenced.server.server import Server
from presenced.server.status import Quantiles, ServerStatus, SlowWatcher, WebhookStatus
from presenced.server.status_report import take_status
from tests.support.certificates import make_certificate
from tests.support.healthy import HEALTHY, HOUR_MS, LOG, MEMORY, WALL_MS, times
from tests.support.status import made_cluster, made_webhooks

GIB = 1 << 30


SETTINGS = Settings(
    listen="0.0.0.0:5250",
    secret_file="/etc/presenced/secret",
    tls_cert="/etc/presenced/cert.pem",
    tls_key="/etc/presenced/key.pem",
    data_dir="/var/lib/presenced",
    http="127.0.0.1:9250",
    grounds=("contacts",),
    admin_socket="/run/presenced/admin.sock",
)
FACTS = Facts(
    memory_bytes=200 << 20,
    memory_max_bytes=GIB,
    socket_path="/run/presenced/admin.sock",
    socket_mode=0o660,
    secret_mode=0o600,
    python=(3, 11, 7),
)


def findings(
    status: dict[str, Any] | None = None,
    log: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
) -> list[Finding]:
    changed = dict(status or {})
    if log is not None:
        changed["log"] = msgspec.structs.replace(LOG, **log)
    return diagnose(
        msgspec.structs.replace(HEALTHY, **changed),
        msgspec.structs.replace(SETTINGS, **(settings or {})),
        msgspec.structs.replace(FACTS, **(facts or {})),
    )


def watchers(number: int) -> dict[str, Any]:
    slowest = [SlowWatcher(f"u{at}/tab", "user", 9 - at, 5_000) for at in range(min(number, 4))]
    return {"slow_watchers": number, "slowest": slowest}


def in_use(used_mib: int, **fields: Any) -> dict[str, Any]:
    """So much of a budget of 512 MiB."""
    return {"memory": msgspec.structs.replace(MEMORY, used_bytes=used_mib << 20, budget_bytes=512 << 20, **fields)}


def failing_for(for_ms: int) -> WebhookStatus:
    return made_webhooks(state="failing", failing_wall_ms=WALL_MS - for_ms)


def clustered(**fields: Any) -> dict[str, dict[str, Any]]:
    return {"status": {"cluster": made_cluster(**fields)}}


def other_node(**fields: Any) -> dict[str, dict[str, Any]]:
    """The first of the other nodes is other in `fields`."""
    first, *others = made_cluster().nodes
    return clustered(nodes=[msgspec.structs.replace(first, **fields), *others])


def engine(**fields: Any) -> dict[str, dict[str, Any]]:
    return clustered(engine=msgspec.structs.replace(made_cluster().engine, **fields))


CASES: list[tuple[str, str, dict[str, dict[str, Any]], str]] = [
    ("links", "warning", {"status": {"links": 15_898}}, "15,898 of 19,872 links are taken"),
    ("links", "ok", {"status": {"links": 15_897}}, "15,897 of 19,872 links"),
    ("links", "problem", {"status": {"links": 19_872}}, "19,872 of 19,872 links are taken"),
    ("links", "warning", {"status": {"links_max": 896, "links": 3}}, "room for only 896 links"),
    ("descriptors", "warning", {"status": {"descriptors": 16_000}}, "16,000 of 20,000 file descriptors"),
    ("descriptors", "ok", {"status": {"descriptors": 15_999}}, "15,999 of 20,000"),
    ("refusals", "warning", {"status": {"goodbyes": {"busy": 1_204}}}, "1,204 links were refused"),
    ("memory", "warning", {"facts": {"memory_bytes": int(0.81 * GIB)}}, "the limit is 1,024.0 MiB"),
    ("memory", "problem", {"facts": {"memory_bytes": int(0.96 * GIB)}}, "the limit is 1,024.0 MiB"),
    ("memory", "ok", {"facts": {"memory_bytes": 9 * GIB, "memory_max_bytes": 0}}, "and no limit is set"),
    ("memory", "ok", {"status": in_use(409)}, "409 of 512 MiB of memory are in use"),
    (
        "memory",
        "warning",
        {"status": in_use(410)},
        "410 of 512 MiB of memory are in use; above that, new links are refused",
    ),
    (
        "memory",
        "problem",
        {"status": in_use(513, level="refusing", since_wall_ms=WALL_MS - 180_500)},
        "513 of 512 MiB of memory are in use: the server has refused new links and new state for 3m",
    ),
    (
        "memory",
        "problem",
        {"status": in_use(600, level="ending", since_wall_ms=WALL_MS), "settings": {"memory_bytes": 512 << 20}},
        "600 of 512 MiB of memory are in use: the server has ended links and refused new ones for 0",
    ),
    ("memory", "problem", {"status": in_use(9), "facts": {"memory_bytes": int(0.96 * GIB)}}, "the limit is 1,024.0"),
    (
        "memory",
        "warning",
        {"status": {**in_use(9, refused_links=8, refused_hellos=2, ended_links=1), "goodbyes": {"busy": 11}}},
        "memory ran short: 11 links and 0 requests were turned away since the start",
    ),
    ("memory", "warning", {"status": in_use(9, refused_requests=3)}, "0 links and 3 requests"),
    ("durability", "warning", {"status": {"log": None}}, "in memory only"),
    ("durability", "warning", {"log": {"durability": "off"}}, "durability is off"),
    ("durability", "ok", {"log": {"durability": "interval"}}, "durability interval"),
    (
        "durability",
        "ok",
        {"settings": {"storage_url": "redis://h"}, "log": {"directory": "redis://h:6379"}},
        "is kept at redis",
    ),
    ("log_state", "problem", {"settings": {"storage_url": "redis://h"}, "log": {"state": "busy"}}, "the store at"),
    ("log_state", "ok", {"settings": {"storage_url": "redis://h"}}, "the log is ok"),
    ("log_state", "problem", {"log": {"state": "full"}}, "is full"),
    ("log_state", "problem", {"log": {"state": "gone"}}, "is gone"),
    ("log_state", "problem", {"log": {"state": "busy", "pending_facts": 70_000}}, "70,000 facts wait"),
    ("log_state", "problem", {"log": {"state": "failed"}}, "has failed"),
    ("disk_speed", "warning", {"status": {"commit": times(100, 65_536.0)}}, "the disk is slow"),
    ("disk_speed", "ok", {"status": {"commit": times(100, 32_768.0)}}, "less than 32.8 ms"),
    ("snapshots", "warning", {"log": {"log_bytes": 300 << 20}}, "the log has 300.0 MiB since"),
    ("snapshots", "ok", {"log": {"log_bytes": 300 << 20, "snapshot_bytes": 100 << 20}}, "the last snapshot"),
    ("snapshots", "ok", {"log": {"log_bytes": 300 << 20, "snapshot_running": True}}, "is being taken"),
    ("snapshots", "warning", {"log": {"snapshot_wall_ms": WALL_MS - 2 * HOUR_MS}}, "no snapshot was taken for 2h"),
    ("snapshots", "warning", {"log": {"snapshot_wall_ms": 0}}, "no snapshot was taken for 9h"),
    ("snapshots", "ok", {"log": {"snapshot_wall_ms": WALL_MS - 2 * HOUR_MS, "log_bytes": 0}}, "2h old"),
    (
        "snapshots",
        "ok",
        {"log": {"snapshot_wall_ms": WALL_MS - 9 * HOUR_MS}, "status": {"uptime_ms": 60_000}},
        "9h old",
    ),
    (
        "snapshots",
        "ok",
        {"log": {"snapshot_wall_ms": WALL_MS - 2 * HOUR_MS}, "settings": {"snapshot_every_ms": 0}},
        "2h old",
    ),
    ("clock", "warning", {"status": {"wall_jumps": 2, "wall_jump_ms": -3_600_000}}, "the last time by -3,600,000 ms"),
    (
        "idle_kinds",
        "warning",
        {"settings": {"idle": ("mobile=10m,0",)}, "facts": {"idle_kinds_unmet": ["mobile"]}},
        "have times for 'mobile', but no device of that kind has come",
    ),
    (
        "idle_kinds",
        "ok",
        {
            "settings": {"idle": ("mobile=10m,0",)},
            "facts": {"idle_kinds_unmet": ["mobile"]},
            "status": {"uptime_ms": 60_000},
        },
        "no kind of device with times of its own is missing",
    ),
    ("idle_kinds", "ok", {"settings": {"idle": ("mobile=10m,0",)}}, "is missing"),
    ("stalls", "warning", {"status": {"stalls": 3}}, "3 times"),
    ("turns", "warning", {"status": {"turn": times(1_000, 32_768.0)}}, "less than 32.8 ms"),
    ("turns", "ok", {"status": {"turn": times(1_000, 16_384.0)}}, "less than 16.4 ms"),
    ("intervals", "warning", {"settings": {"grace_ms": 600_000}}, "presence.grace is 10m"),
    ("intervals", "warning", {"settings": {"heartbeat_ms": 300_001}}, "heartbeat.interval is 5m"),
    ("slow_watchers", "warning", {"status": watchers(14)}, "u0/tab, u1/tab, u2/tab"),
    ("slow_watchers", "ok", {"status": watchers(13)}, "13 of 1,300"),
    ("slow_watchers", "ok", {"status": {**watchers(10), "links": 20}}, "10 of 20"),
    ("encryption", "warning", {"status": {"listeners": ["presence://0.0.0.0:5250"]}}, "without TLS"),
    ("encryption", "warning", {"status": {"listeners": ["presence://[2001:db8::1]:5250"]}}, "without TLS"),
    ("encryption", "ok", {"status": {"listeners": ["presence://[::1]:5250"]}}, "no address is reachable"),
    ("identity", "warning", {"status": {"dev": True, "listeners": ["presence://127.0.0.1:1"]}}, "believes every name"),
    (
        "identity",
        "problem",
        {"status": {"dev": True, "listeners": ["presences://0.0.0.0:1"]}},
        "also from other machines",
    ),
    (
        "identity",
        "warning",
        {"status": {"dev": True, "listeners": ["presence://[::1]:1", "https://1.2.3.4:1"]}},
        "mode",
    ),
    ("encryption", "warning", {"status": {"listeners": ["presence://[::1]:1", "http://1.2.3.4:1"]}}, "http://1.2.3.4"),
    ("visibility", "ok", {"settings": {"grounds": ("contacts", "domain")}}, "by contacts, domain"),
    ("visibility", "ok", {"settings": {"grounds": ()}}, "by what a token grants"),
    ("visibility", "warning", {"settings": {"grounds": ("everyone",)}}, "nobody has chosen that"),
    (
        "visibility",
        "ok",
        {"settings": {"grounds": ("everyone",)}, "facts": {"grounds_chosen": True}},
        "every user may see every other",
    ),
    (
        "visibility",
        "ok",
        {"settings": {"grounds": ("everyone",)}, "status": {"listeners": ["presences://127.0.0.1:5250"]}},
        "every user may see every other",
    ),
    (
        "http",
        "warning",
        {"settings": {"http": "0.0.0.0:9250"}},
        "other machines can read metrics and health on 0.0.0.0:9250",
    ),
    ("http", "warning", {"settings": {"http": ":9250"}}, "other machines can read metrics"),
    ("http", "ok", {"settings": {"http": ""}}, "not served"),
    ("http", "ok", {"settings": {"http": "0.0.0.0:9250", "http_pages": "loopback"}}, "on this machine alone"),
    (
        "http",
        "ok",
        {"settings": {"http": "127.0.0.1:9250", "http_pages": "loopback"}},
        "whoever a proxy on it asks for",
    ),
    (
        "http",
        "warning",
        {"settings": {"http": "127.0.0.1:9250", "http_trusted_proxies": "127.0.0.1"}},
        "whoever reaches the proxy before 127.0.0.1:9250",
    ),
    (
        "http",
        "ok",
        {"settings": {"http": "127.0.0.1:9250", "http_trusted_proxies": "127.0.0.1", "http_pages": "loopback"}},
        "on this machine alone",
    ),
    ("admin_socket", "problem", {"facts": {"socket_mode": 0o666}}, "every user of this machine"),
    ("admin_socket", "ok", {"facts": {"socket_mode": 0o664}}, "mode 664"),
    ("admin_socket", "ok", {"facts": {"socket_path": "", "socket_mode": 0}}, "there is no admin socket"),
    ("secret", "problem", {"facts": {"secret_mode": 0o604}}, "every account can read the secret file /etc/presenced"),
    ("secret", "ok", {"facts": {"secret_mode": 0o640}}, "mode 0640"),
    ("secret", "ok", {"settings": {"secret_file": ""}}, "no secret"),
    ("certificate", "warning", {"facts": {"certificate": "the certificate x expires in 5 days; renew"}}, "5 days"),
    (
        "certificate",
        "problem",
        {"facts": {"certificate": "the certificate x has expired, and clients refuse it; renew it"}},
        "has expired",
    ),
    ("zones", "problem", {"facts": {"zones_missing": ["Our/Town", "X"]}}, "does not know the time zone Our/Town, X"),
    ("log", "warning", {"status": {"log_lines_lost": 12}}, "nobody read the log: 12 lines were dropped"),
    ("log", "ok", {}, "every line"),
    ("zones", "ok", {}, "are known"),
    ("certificate", "ok", {"settings": {"tls_cert": "", "tls_key": ""}}, "no certificate"),
    ("python", "warning", {"facts": {"python": (3, 12, 6)}}, "Python 3.12.6 never frees interned strings"),
    ("python", "warning", {"facts": {"python": (3, 12, 0)}}, "no input of clients is interned"),
    ("python", "ok", {"facts": {"python": (3, 13, 0)}}, "Python 3.13.0"),
    ("python", "ok", {"facts": {"python": (3, 12, 7)}}, "Python 3.12.7"),
    (
        "configuration",
        "warning",
        {"facts": {"config_waiting": ["presence.grace", "log.level"]}},
        "has changed since the daemon read it: presence.grace, log.level",
    ),
    (
        "configuration",
        "problem",
        {"facts": {"config_faults": ["FILE:3: a", "b", "c"], "reload_faults": ["d"]}},
        "the next restart will fail: FILE:3: a (and 2 more)",
    ),
    (
        "configuration",
        "problem",
        {"facts": {"reload_faults": ["the secret file x is empty"]}},
        "the last reload was refused: the secret file x is empty; until it is mended, a restart will fail",
    ),
    ("configuration", "ok", {"status": {"config": ""}}, "no configuration file"),
    ("views", "warning", {"status": {"view_checks_failed": 2}}, "2 checksums of what clients show were wrong"),
    ("views", "warning", {"status": {"view_checks_failed": 1}}, "1 checksum of what clients show was wrong"),
    ("followers", "warning", {"status": {"lost_followers": [f"app/{n}" for n in range(7)]}}, "app/4 and 2 more"),
    ("webhooks", "ok", {"status": {"webhooks": None}}, "no webhooks are configured"),
    (
        "webhooks",
        "problem",
        {"status": {"webhooks": made_webhooks(state="gone")}},
        "https://app.example.org has said 410",
    ),
    ("webhooks", "problem", {"status": {"webhooks": made_webhooks(state="taken")}}, "another program follows events"),
    (
        "webhooks",
        "warning",
        {"status": {"webhooks": failing_for(90_000)}},
        "taken nothing for 1m30s: the receiver said",
    ),
    ("webhooks", "problem", {"status": {"webhooks": failing_for(3_600_000)}}, "has taken nothing for 1h"),
    ("webhooks", "warning", {"status": {"webhooks": made_webhooks(lag_ms=301_000)}}, "late, with 1,483 events to post"),
    ("webhooks", "problem", {"facts": {"webhook_secret_mode": 0o604}}, "every account can read the secret file of"),
    ("dead_letters", "warning", {"status": {"webhooks": made_webhooks(dead_letters=3)}}, "3 events were given up"),
    ("cluster", "ok", {"status": {"cluster": None}}, "this server is alone"),
    ("cluster", "ok", clustered(), "the node web-2 serves as one of 3"),
    ("cluster", "problem", clustered(state="isolated"), "the node web-2 is isolated: it has no lease"),
    ("cluster", "warning", clustered(state="fenced"), "was taken for dead by the others, and joins them anew"),
    ("cluster", "warning", clustered(state="copying"), "the node web-2 is copying"),
    (
        "cluster",
        "warning",
        clustered(fences=2),
        "taken for dead by the others since the start, web-4 the last, at 20",
    ),
    ("cluster_engine", "ok", clustered(), "the engine redis://10.0.0.5:6379 answers (version 7.2.11)"),
    (
        "cluster_engine",
        "ok",
        engine(away_ms=5_000, version="", eviction=""),
        "the engine redis://10.0.0.5:6379 answers",
    ),
    ("cluster_engine", "problem", engine(away_ms=63_999), "has not answered for 1m3s"),
    (
        "cluster_engine",
        "problem",
        engine(away_ms=63_999, trouble="it asks for a password"),
        "1m3s: it asks for a password",
    ),
    (
        "cluster_engine",
        "problem",
        engine(away_ms=19_200, lacks_replicas=True),
        "no replica of the engine redis://10.0.0.5:6379 has taken what was changed in the last 19s",
    ),
    ("cluster_engine", "problem", engine(role="slave"), "is a slave, which takes no writes"),
    ("cluster_engine", "problem", engine(eviction="allkeys-lru"), "may throw away the log of the cluster"),
    ("cluster_engine", "ok", engine(eviction="volatile-lru"), "answers"),
    ("cluster_engine", "problem", engine(version="6.2.14"), "is 6.2.14, and 7.0 is needed"),
    ("cluster_lag", "ok", clustered(lag_ms=1_000), "is 1000 ms behind the others"),
    ("cluster_lag", "warning", clustered(lag_ms=1_001), "(4 entries) behind the others"),
    ("cluster_lag", "problem", clustered(lag_ms=10_001), "behind the others, and shows what was then"),
    ("cluster_lag", "warning", clustered(backlog_bytes=17 << 20), "17 MiB of changes wait for the engine"),
    ("cluster_clock", "ok", clustered(clock_skew_ms=-500), "within 500 ms of the engine's"),
    ("cluster_clock", "warning", clustered(clock_skew_ms=501), "501 ms ahead of that of the engine"),
    ("cluster_clock", "warning", clustered(clock_skew_ms=-1_501), "1,501 ms behind that of the engine"),
    ("cluster_settings", "ok", clustered(), "no other node is known to have other settings"),
    (
        "cluster_settings",
        "problem",
        other_node(differs=["cluster.ack", "presence.x"]),
        "the node web-1 has other settings than web-2: cluster.ack, presence.x",
    ),
    (
        "cluster_settings",
        "problem",
        other_node(posts_too=True),
        "the node web-1 posts webhooks, as web-2 does: one of them posts nothing",
    ),
    ("cluster_nodes", "ok", clustered(), "3 nodes: web-1 decides 4,111 users, web-2"),
    ("cluster_nodes", "warning", clustered(nodes=made_cluster().nodes[1:2]), "web-2 is the only node of its cluster"),
    ("cluster_nodes", "ok", clustered(nodes=[]), "no node is known yet"),
    ("dead_letters", "warning", {"status": {"webhooks": made_webhooks(gaps=1)}}, "have missed events 1 times"),
]


class TestChecks:
    def test_a_healthy_server_is_well_in_all_regards(self) -> None:
        said = findings()
        assert [one for one in said if one.severity != "ok" or one.advice] == []
        assert [one.check for one in said] == [check.__name__ for check in CHECKS]

    @pytest.mark.parametrize(("check", "severity", "changes", "says"), CASES)
    def test_one_thing(self, check: str, severity: str, changes: dict[str, Any], says: str) -> None:
        said = findings(**changes)
        [found] = [one for one in said if one.check == check]
        assert found.severity == severity and says in found.what
        assert bool(found.advice) == (severity != "ok"), "whoever is told of a fault is told what to do"
        others = [one.check for one in said if one.severity != "ok" and one.check != check]
        assert others == [], "one fault is told once"

    def test_every_check_has_a_case(self) -> None:
        assert {check.__name__ for check in CHECKS} == {case[0] for case in CASES}

    def test_a_server_that_is_alone_is_told_so_once(self) -> None:
        said = findings(status={"cluster": None})
        assert [one.check for one in said if "cluster" in one.check or "alone" in one.what] == ["cluster"]

    def test_the_worst_comes_first(self) -> None:
        said = findings(status={"stalls": 1, "links": 19_872}, facts={"socket_mode": 0o666})
        order = [one.severity for one in said]
        assert order[:3] == ["problem", "problem", "warning"] and set(order[3:]) == {"ok"}

    @pytest.mark.parametrize("commits", [0, 99])
    def test_a_few_commits_say_nothing_of_the_disk(self, commits: int) -> None:
        said = findings(status={"commit": times(commits, 1e6)})
        assert [one for one in said if one.check == "disk_speed"] == []

    def test_the_first_turns_say_nothing(self) -> None:
        said = findings(status={"turn": times(999, 1e6)})
        assert [one for one in said if one.check == "turns"] == []

    @pytest.mark.parametrize(
        ("url", "is_so"),
        [
            ("unix:/run/x", True),
            ("http://localhost:1", True),
            ("http://127.3.4.5:1", True),
            ("http://10.0.0.1:1", False),
            ("http://:9", False),
            ("http://[nonsense:9", False),
        ],
    )
    def test_private_addresses(self, url: str, is_so: bool) -> None:
        assert is_private(url) is is_so


class TestHost:
    def test_the_limit_of_the_nearest_group_counts(self, tmp_path: Path) -> None:
        unit = tmp_path / "fs" / "system.slice" / "presenced.service"
        unit.mkdir(parents=True)
        own = tmp_path / "cgroup"
        own.write_text("1:name=old:/elsewhere\n0::/system.slice/presenced.service\n")
        assert memory(own, tmp_path / "fs") == (0, 0)
        (unit / "memory.max").write_text("max\n")
        (unit / "memory.current").write_text("77\n")
        (unit.parent / "memory.max").write_text("4096\n")
        (unit.parent / "memory.current").write_text("1234\n")
        assert memory(own, tmp_path / "fs") == (1234, 4096)
        (unit / "memory.max").write_text("99\n")
        assert memory(own, tmp_path / "fs") == (77, 99)

    def test_a_group_outside_of_what_is_mounted(self, tmp_path: Path) -> None:
        """In a container without a namespace of its own the tree's root is the container's group."""
        own = tmp_path / "cgroup"
        own.write_text("0::/../../other\n")
        (tmp_path / "fs").mkdir()
        (tmp_path / "memory.max").write_text("5\n")
        assert memory(own, tmp_path / "fs") == (0, 0)
        (tmp_path / "fs" / "memory.max").write_text("6\n")
        (tmp_path / "fs" / "memory.current").write_text("3\n")
        assert memory(own, tmp_path / "fs") == (3, 6)
        assert memory(tmp_path / "none", tmp_path / "fs") == (0, 0)

    def test_files_that_are_not_there(self, tmp_path: Path) -> None:
        assert mode_of(str(tmp_path / "none")) == 0


class TestFiles:
    """What the doctor says of a server whose files change."""

    async def test_the_configuration(self, tmp_path: Path) -> None:
        file, drop_in = tmp_path / "presenced.toml", tmp_path / "conf.d" / "more.toml"
        file.write_text("[auth]\ndev = true\n[listen]\naddress = '127.0.0.1:0'\n")
        server = await started_from(file)
        assert self.told(server, "configuration")[0] == "ok"
        drop_in.parent.mkdir()
        (drop_in.parent / ".more.toml.swp").write_text("not read")
        assert self.told(server, "configuration")[0] == "ok", "an editor's file"
        drop_in.write_text("[presence]\ngrace = '3s'\n[runtime]\nloop = 'asyncio'\n")
        assert self.told(server, "configuration") == (
            "warning",
            "the configuration has changed since the daemon read it: presence.grace, runtime.loop",
        )
        drop_in.write_text("[presence]\ngraze = '3s'\n")
        severity, what = self.told(server, "configuration")
        assert severity == "problem" and what.startswith(f"the next restart will fail: {drop_in}:2: there is no key")
        assert not (await reload(server)).ok
        drop_in.unlink()
        severity, what = self.told(server, "configuration")
        assert severity == "problem" and what.startswith(f"the last reload was refused: {drop_in}:2: there is no key")
        assert (await reload(server)).ok
        assert self.told(server, "configuration")[0] == "ok"
        await server.stop()

    async def test_who_may_see_whom_is_chosen(self, tmp_path: Path) -> None:
        file = tmp_path / "presenced.toml"
        file.write_text("[auth]\ndev = true\n[listen]\naddress = '127.0.0.1:0'\n")
        server = await started_from(file)
        assert not facts_of(server, take_status(server), "").grounds_chosen
        file.write_text(f"{file.read_text()}[visibility]\ngrounds = ['everyone']\n")
        assert facts_of(server, take_status(server), "").grounds_chosen
        await server.stop()

    async def test_the_certificate(self, tmp_path: Path) -> None:
        cert, key = make_certificate(tmp_path, "used")
        file = tmp_path / "presenced.toml"
        file.write_text(f"[auth]\ndev = true\n[listen]\ntls_cert = '{cert}'\ntls_key = '{key}'\n")
        server = await started_from(file)
        assert "expires in less than a day" in self.told(server, "certificate")[1]
        for old, new in zip((cert, key), make_certificate(tmp_path, "other"), strict=True):
            new.rename(old)
        said = [found.what for found in self.all_of(server) if found.check == "certificate"]
        assert f"{cert} holds another certificate than the one that clients are shown" in said
        assert (await reload(server)).ok
        assert len([found for found in self.all_of(server) if found.check == "certificate"]) == 1
        await server.stop()

    def told(self, server: Server, check: str) -> tuple[str, str]:
        (found,) = [found for found in self.all_of(server) if found.check == check]
        return found.severity, found.what

    def all_of(self, server: Server) -> list[Finding]:
        status = take_status(server)
        return diagnose(status, server.settings, facts_of(server, status, ""))


async def started_from(file: Path) -> Server:
    """A server with this configuration."""
    configuration = Configuration({"listen": "127.0.0.1:0"}, {}, str(file))
    server = Server(configuration.load().settings, configuration=configuration)
    await server.start()
    return server


def test_levels_are_those_of_the_settings() -> None:
    """They stand twice, because commands that only look do not load the settings."""
    assert get_args(admin_messages.AdminLogLevel) == get_args(config_settings.LogLevel)


class TestLately:
    """What happened once is not reported for ever."""

    def before(self, **fields: Any) -> ServerStatus:
        return msgspec.structs.replace(HEALTHY, uptime_ms=HEALTHY.uptime_ms - 300_000, **fields)

    def judged(self, check: str, before: ServerStatus | None, **fields: Any) -> Finding:
        found = diagnose(msgspec.structs.replace(HEALTHY, **fields), SETTINGS, FACTS, before)
        return next(finding for finding in found if finding.check == check)

    @pytest.mark.parametrize(
        ("check", "fields"),
        [
            ("stalls", {"stalls": 3}),
            ("refusals", {"goodbyes": {"busy": 9}}),
            ("memory", {**in_use(9, refused_links=4, refused_requests=2), "goodbyes": {"busy": 4}}),
            ("clock", {"wall_jumps": 2, "wall_jump_ms": 900}),
            ("views", {"view_checks_failed": 2}),
            ("dead_letters", {"webhooks": made_webhooks(dead_letters=2)}),
            ("dead_letters", {"webhooks": made_webhooks(gaps=2)}),
            ("cluster", {"cluster": made_cluster(fences=2)}),
        ],
    )
    def test_totals(self, check: str, fields: dict[str, Any]) -> None:
        past = self.judged(check, self.before(**fields), **fields)
        assert past.severity == "ok" and ("in the last 5 minutes" in past.what or check in ("memory", "cluster"))
        now = self.judged(check, self.before(), **fields)
        assert now.severity == "warning" and "in the last 5 minutes" in now.what
        assert "since the start" in self.judged(check, None, **fields).what

    @pytest.mark.parametrize(("check", "field"), [("turns", "turn"), ("disk_speed", "commit")])
    def test_durations(self, check: str, field: str) -> None:
        def counted(slow: int, fast: int) -> Quantiles:
            buckets = [0] * 24
            buckets[18], buckets[8] = slow, fast
            return Quantiles(slow + fast, 0, 200.0, 262_144.0, 250_000, buckets)

        long_ago = self.judged(check, self.before(**{field: counted(500, 5_000)}), **{field: counted(500, 9_000)})
        assert long_ago.severity == "ok" and "0.256 ms in the last 5 minutes" in long_ago.what
        lately = self.judged(check, self.before(**{field: counted(0, 5_000)}), **{field: counted(500, 9_000)})
        assert lately.severity == "warning" and "250 ms in the last 5 minutes" in lately.what


def test_files_in_the_page_cache_are_no_memory_in_need(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/\n")
    for name, text in (("max", "1000"), ("current", "900"), ("stat", "anon 100\ninactive_file 650\nactive_file 50\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory(own, tmp_path) == (250, 1000)
