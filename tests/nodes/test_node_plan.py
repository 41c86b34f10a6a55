"""What each node is started with: the settings of all, but for what two daemons cannot share."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from presenced.cli.daemon import main
from presenced.config import KEYS, Key, Settings
from presenced.config.kinds import Bool
from presenced.config.loader import take_survey
from presenced.config.times_by_kind import TimesByKind
from presenced.nodes.node_plan import NodePlan, NodesShare, memory_of_all, plans
from tests.config.any_settings import ANY

OWN = {
    "nodes",
    "cluster_url",
    "cluster_node",
    "listen",
    "listen_shared",
    "data_dir",
    "admin_socket",
    "http_own",
    "memory_bytes",
    "webhooks_url",
}
SHARE = NodesShare("unix:///run/e.sock", 5250, "", 0)


def parsed(options: tuple[str, ...]) -> dict[str, Any]:
    """The options as the command takes them."""
    with main.commands["serve"].make_context("serve", list(options)) as context:
        return dict(context.params)


def settings_of(plan: NodePlan) -> Settings:
    """What a node of this plan runs with."""
    flags = parsed(plan.options)
    return take_survey(flags, plan.environ, flags.pop("config")).loaded.settings


def planned(*options: str, share: NodesShare = SHARE) -> list[Settings]:
    flags = parsed(("--dev", "--nodes", "2", *options))
    config = flags.pop("config")
    chosen = take_survey(flags, {}, config).loaded.settings
    return [settings_of(plan) for plan in plans(chosen, flags, config, share)]


def spelled(key: Key, value: object) -> list[str]:
    if isinstance(key.kind, Bool):
        return [key.flag] if value else []
    if isinstance(key.kind, TimesByKind) and isinstance(value, tuple):
        return [word for entry in value for word in (key.flag, entry)]
    return [key.flag, key.kind.text(value)]


@given(st.fixed_dictionaries({}, optional={key.field: ANY[key.field] for key in KEYS if key.flag}))
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_every_option_of_the_command_reaches_every_node(chosen: dict[str, Any]) -> None:
    chosen |= {"dev": True, "nodes": 2}
    options = [word for key in KEYS if key.field in chosen for word in spelled(key, chosen[key.field])]
    flags = parsed(tuple(options))
    flags.pop("config")
    wanted = take_survey(flags, {}, None).loaded.settings
    for plan in plans(wanted, flags, None, SHARE):
        found = settings_of(plan)
        for field in msgspec.structs.fields(Settings):
            if field.name not in OWN:
                assert getattr(found, field.name) == getattr(wanted, field.name), field.name


def test_what_two_daemons_cannot_share_is_each_one_s_own() -> None:
    share = NodesShare("unix:///run/e.sock", 7000, "/run/p/admin.sock", 400 << 20)
    first, second = planned("--data-dir", "/d", "--http", "127.0.0.1:9000", "--node", "web", share=share)
    assert (first.cluster_node, second.cluster_node) == ("web-1", "web-2")
    assert (first.data_dir, second.data_dir) == ("/d/node-1", "/d/node-2")
    assert (first.admin_socket, second.admin_socket) == ("/run/p/admin-1.sock", "/run/p/admin-2.sock")
    assert (first.http_own, second.http_own) == ("127.0.0.1:9001", "127.0.0.1:9002")
    for each in (first, second):
        assert (each.nodes, each.listen_shared, each.listen) == (1, True, "127.0.0.1:7000")
        assert (each.cluster_url, each.http) == ("unix:///run/e.sock", "127.0.0.1:9000")
        assert each.memory_bytes == 200 << 20


def test_what_is_not_wanted_of_all_is_wanted_of_none() -> None:
    for each in planned("--listen", "[::1]:0"):
        assert (each.data_dir, each.admin_socket, each.http, each.http_own) == ("", "", "", "")
        assert each.memory_bytes is None and each.listen == "[::1]:5250"


def test_the_own_addresses_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Settings(dev=True, nodes=2, http="0.0.0.0:9000", http_own="[::1]:8000")
    assert [settings_of(plan).http_own for plan in plans(chosen, {}, None, SHARE)] == ["[::1]:8000", "[::1]:8001"]


def test_events_are_posted_by_the_first_node_alone() -> None:
    chosen = Settings(dev=True, nodes=3)
    said = [plan.environ.get("PRESENCED_WEBHOOKS__URL") for plan in plans(chosen, {}, "/etc/a.toml", SHARE)]
    assert said == [None, "", ""]
    assert all(plan.options[:2] == ("--config", "/etc/a.toml") for plan in plans(chosen, {}, "/etc/a.toml", SHARE))


def test_memory_is_divided() -> None:
    assert memory_of_all(Settings(), 0) == 0
    assert memory_of_all(Settings(), 1000) == 700
    assert memory_of_all(Settings(memory_bytes=0), 1000) == 0
    assert memory_of_all(Settings(memory_bytes=5), 1000) == 5
    [first, _] = planned(share=SHARE._replace(memory_bytes=1))
    assert first.memory_bytes == 64 << 20, "a node needs as much as the settings allow for one"
