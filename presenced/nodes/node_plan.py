"""What each node is started with: the settings of all, but for what two daemons cannot share. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from presenced import limits
from presenced.config.cluster_rules import first_own_port
from presenced.config.hosts import parse_address
from presenced.config.key import Key
from presenced.config.keys import BY_FIELD, KEYS, MEMORY_BYTES_MIN
from presenced.config.kinds import Bool
from presenced.config.settings import Settings
from presenced.config.times_by_kind import TimesByKind
from presenced.runtime_paths import node_admin_path


class NodePlan(NamedTuple):
    """One node."""

    number: int
    """From 1."""
    name: str
    """In the cluster, and in the log."""
    options: tuple[str, ...]
    """Of `presenced serve`."""
    environ: dict[str, str]
    """Variables that it has besides those of the supervisor."""


class NodesShare(NamedTuple):
    """What the supervisor has found or made for all nodes."""

    engine: str
    """The URL of the engine."""
    port: int
    """That clients connect to; the settings may have left it to the system."""
    admin_path: str
    """The admin socket of a daemon that is alone; empty = none is wanted."""
    memory_bytes: int
    """What all nodes together may use; 0 = no budget."""


def plans(settings: Settings, flags: Mapping[str, object], config: str | None, shared: NodesShare) -> list[NodePlan]:
    """The plan of each node. `flags` and `config` are the options of the command, by parameter name."""
    return [_plan(settings, flags, config, shared, number) for number in range(1, settings.nodes + 1)]


def _plan(
    settings: Settings, flags: Mapping[str, object], config: str | None, shared: NodesShare, number: int
) -> NodePlan:
    name = f"{settings.node_name}-{number}"
    host, _ = settings.address()
    own: dict[str, object] = {
        "nodes": 1,
        "cluster_url": shared.engine,
        "cluster_node": name,
        "listen": f"[{host}]:{shared.port}" if ":" in host else f"{host}:{shared.port}",
        "listen_shared": True,
    }
    environ: dict[str, str] = {}
    if settings.data_dir:
        own["data_dir"] = os.path.join(settings.data_dir, f"node-{number}")
    if shared.admin_path:
        own["admin_socket"] = node_admin_path(shared.admin_path, number)
    if settings.http:
        host, _ = parse_address(settings.http_own or settings.http)
        port = first_own_port(settings) + number - 1
        environ[BY_FIELD["http_own"].env] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if shared.memory_bytes:
        budget = max(MEMORY_BYTES_MIN, shared.memory_bytes // settings.nodes)
        environ[BY_FIELD["memory_bytes"].env] = f"{budget}B"
    if number > 1:
        # Events are posted once, by the first node.
        environ[BY_FIELD["webhooks_url"].env] = ""
    given = {field: flags.get(BY_FIELD[field].parameter) for field in BY_FIELD if BY_FIELD[field].flag} | own
    options = [] if config is None else ["--config", config]
    for key in KEYS:
        if key.flag and given[key.field] is not None:
            options += _spelled(key, given[key.field])
    return NodePlan(number, name, tuple(options), environ)


def _spelled(key: Key, value: object) -> list[str]:
    """An option as a command line has it."""
    if isinstance(key.kind, Bool):
        return [key.flag] if value else []
    if isinstance(key.kind, TimesByKind) and isinstance(value, tuple):
        return [word for entry in value for word in (key.flag, entry)]
    return [key.flag, value if isinstance(value, str) else key.kind.text(value)]


def memory_of_all(settings: Settings, limit_bytes: int) -> int:
    """What all nodes together may use; 0 = no budget. `limit_bytes` is the tightest limit of the control groups that
    hold them, 0 = none."""
    if settings.memory_bytes is None:
        return limit_bytes * limits.MEMORY_AUTO_PERCENT // 100
    return settings.memory_bytes
