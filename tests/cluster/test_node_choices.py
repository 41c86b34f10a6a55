"""Nodes of one cluster whose settings do not agree: each says so once, and the doctor of each knows it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from presenced.cluster.log.join_data import JoinData, decode_join
from presenced.cluster.log.node_choices import NodeChoices, differing
from presenced.config.keys import KEYS
from presenced.config.settings import Settings
from presenced.config.shared_keys import shared_digests
from presenced.server.clustering.entrance import choices_of
from presenced.server.clustering.neighbours import Neighbours
from presenced.wire.codec import encode
from tests.cluster.memberships import Joining, new_engine
from tests.cluster.town import Town, TownNode
from tests.support.until import eventually

DEV = Settings(dev=True)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "settings" in record.msg or "webhooks" in record.msg]


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({}, []),
        ({"listen": "0.0.0.0:1", "http": "0.0.0.0:2", "data_dir": "/x", "cluster_node": "b", "memory_bytes": 0}, []),
        ({"grace_ms": 60_000}, ["presence.grace"]),
        ({"heartbeat_ms": 10_000, "offline_after_ms": 0}, ["heartbeat.interval", "presence.offline_after"]),
        ({"grounds": ("contacts",)}, ["visibility.grounds"]),
        ({"cluster_lease_ms": 40_000, "cluster_ack": "disk"}, ["cluster.ack", "cluster.lease"]),
        ({"dev": False, "secret_file": "/s"}, ["auth.dev", "auth.secret_file"]),
        ({"events_keep": 1_000}, ["events.keep"]),
    ],
)
def test_what_is_said_of_settings_differs_exactly_where_nodes_must_not_differ(
    fields: dict[str, object], keys: list[str]
) -> None:
    other = choices_of(Settings(**{"dev": True, **fields}))  # type: ignore[arg-type]
    assert list(differing(choices_of(DEV), other)) == list(differing(other, choices_of(DEV))) == keys


def test_the_same_in_other_words_is_the_same() -> None:
    one = Settings(dev=True, grounds=("contacts", "domain"), kind_grace=("mobile=2m",), idle=("tv=1m,0",))
    other = Settings(dev=True, grounds=("domain", "contacts"), kind_grace=("mobile=120s",), idle=("tv=60s,0",))
    assert shared_digests(one) == shared_digests(other) != shared_digests(DEV)


def test_nothing_is_said_of_a_secret_but_that_there_is_one(tmp_path: Path) -> None:
    """Nor of where it is: that is each machine's own."""
    (tmp_path / "a").write_text("short")
    one, other = Settings(secret_file=str(tmp_path / "a")), Settings(secret_file="/elsewhere")
    assert shared_digests(one) == shared_digests(other)
    assert not [key.name for key in KEYS if key.is_shared and "secret" in key.name and key.name != "auth.secret_file"]


def test_nodes_of_other_versions_are_not_complained_of() -> None:
    mine = NodeChoices({"presence.grace": 1, "presence.new": 2})
    assert differing(mine, decode_join(encode(JoinData(7))).choices) == ()
    assert differing(mine, NodeChoices({"presence.grace": 1, "presence.newer": 3})) == ()


def test_two_that_post_webhooks_differ_in_that() -> None:
    posts = choices_of(Settings(dev=True, webhooks_url="https://h", webhooks_secret_file="/s"))
    assert differing(posts, posts) == ("webhooks.url",) and differing(posts, choices_of(DEV)) == ()


def watch_settings(node: TownNode, choices: dict[str, int], *, posts: bool = False) -> list[NodeChoices]:
    """The node has these settings, of which it tells the others; or the last that is added to the answer."""
    now = [NodeChoices(choices, posts)]
    node.reader.observe_by(Neighbours(node.node.nodes, node.node.mine, lease_ms=10_000, wall_ms=lambda: 0))
    node.reader.own_figures.tell_by(lambda: (0, 0), lambda: now[-1])
    return now


def test_a_reload_is_told_to_all_and_each_of_them_says_once_that_it_differs_and_that_it_agrees(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "presenced")
    town = Town("a", "b")
    a, b = town.nodes
    of_a, of_b = watch_settings(a, {"presence.grace": 1}), watch_settings(b, {"presence.grace": 1})
    town.advance(8_000)
    assert lines(caplog) == []
    of_a.append(NodeChoices({"presence.grace": 2}))
    town.advance(20_000)
    sentence = "cluster: the node %s has other settings than this one, and all nodes need the same: presence.grace"
    assert sorted(lines(caplog)) == [sentence % "a", sentence % "b"]
    caplog.clear()
    of_b.append(NodeChoices({"presence.grace": 2}))
    town.advance(20_000)
    sentence = "cluster: the settings of the node %s agree with those of this one"
    assert sorted(lines(caplog)) == [sentence % "a", sentence % "b"]
    caplog.clear()
    # Who joins later knows what the others have by now, and not only what they had when they joined.
    watch_settings(town.add("c"), {"presence.grace": 2})
    town.advance(20_000)
    assert lines(caplog) == []


async def test_each_node_says_which_settings_of_another_differ_and_its_status_has_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = new_engine()
    webhooks = {"webhooks_url": "https://h", "webhooks_secret_file": "/s"}
    first = Joining(engine, "first", Settings(dev=True, **webhooks), lease_ms=500)
    second = Joining(engine, "second", Settings(dev=True, grounds=("contacts",), **webhooks), lease_ms=500)
    await first.membership.join()
    await second.membership.join()
    try:
        for node, other in ((first, "second"), (second, "first")):

            def found(node: Joining = node, other: str = other) -> list[tuple[list[str], bool]]:
                status = node.membership.status()
                assert status is not None
                return [(one.differs, one.posts_too) for one in status.nodes if one.name == other]

            await eventually(lambda: found() == [(["visibility.grounds"], True)])
        await eventually(lambda: len(lines(caplog)) == 4)
        for name in ("first", "second"):
            assert f"the node {name} has other settings than this one" in "\n".join(lines(caplog))
            assert f"the node {name} posts webhooks, as this one does" in "\n".join(lines(caplog))
    finally:
        await second.membership.leave()
        await first.membership.leave()
