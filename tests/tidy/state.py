"""Who writes which state: each attribute has an owner, and others call the owner."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from tests.tidy.sources import Complaint, Source, imports, walk

PROJECTED = "core.projection"
"""It owns copies of users and devices, which nobody else sees."""

OWNERS: dict[str, tuple[str, ...]] = {
    # what the core knows of a link: Session
    "pending": ("core.outboxes",),
    "replies": ("core.outboxes",),
    "reply_bytes": ("core.outboxes",),
    "owed": ("core.outboxes",),
    "unanswered": ("core.obligations", "client.protocol.attachments"),
    "ended": ("core.sessions",),
    "expires_ms": ("core.sessions",),
    "rights": ("core.sessions",),
    "issued_ms": ("core.sessions",),
    "watching": ("core.parts.watches",),
    "watched_contacts": ("core.parts.watches",),
    "viewer": ("core.sessions",),
    "refs": ("core.parts.leases",),
    "taken_refs": ("core.parts.holders",),
    "stale_channels": ("core.parts.channel_reports",),
    "follow_seq": ("core.parts.events",),
    "resume": ("core.sessions",),
    "parked": ("core.parts.resumptions",),
    # what a lost link had: Parked
    "lost": ("core.parts.resumptions",),
    "size": ("core.parts.resumptions",),
    # one installation: Device
    "kind": ("core.parts.devices", "core.parts.device_facts", PROJECTED),
    "name": ("core.parts.devices", "core.parts.device_facts"),
    "meta": ("core.parts.devices", "core.parts.device_facts"),
    "priority": ("core.parts.devices", "core.parts.device_facts", PROJECTED),
    "status": ("core.parts.devices", "core.parts.device_facts", PROJECTED),
    "state": ("core.parts.leases", "core.parts.device_facts", PROJECTED),
    "session": ("core.parts.leases",),
    "device": ("core.parts.leases", "core.sessions", "core.parts.claims", "client.pages"),
    "heard_ms": ("core.parts.leases", "core.parts.session_leases", "core.parts.device_facts"),
    "active_ms": ("core.parts.leases", "core.parts.device_facts", PROJECTED),
    "input_ms": ("core.parts.leases",),
    "idle_level": ("core.parts.leases", "core.parts.device_facts", PROJECTED),
    "idle_known": ("core.parts.leases", "core.parts.device_facts", PROJECTED),
    "grace_until_ms": ("core.parts.leases", "core.parts.device_facts", PROJECTED),
    "lease_ms": ("core.parts.leases", "core.parts.device_facts", PROJECTED),
    "ref": ("core.parts.leases",),
    "focus": ("core.parts.devices", "core.parts.leases"),
    "holder": ("core.parts.leases", "core.parts.device_facts"),
    "is_taken_out": ("core.parts.leases", "core.parts.device_facts"),
    # an account and what is said of it: User, Claim, Schedule
    "devices": ("core.parts.devices", "core.parts.device_facts", PROJECTED),
    "position": ("core.parts.users", "client.protocol.event_feed", "storage.recovery"),
    "claims": ("core.parts.claims", PROJECTED),
    "claim": ("core.parts.claims", PROJECTED),
    "schedule": ("core.parts.schedules",),
    "text": ("core.parts.texts", PROJECTED),
    "emoji": ("core.parts.texts", PROJECTED),
    "text_until_ms": ("core.parts.texts",),
    "text_due_ms": ("core.parts.texts", PROJECTED),
    "text_by_wall": ("core.parts.texts",),
    "shown": ("core.parts.texts", PROJECTED),
    "until_ms": ("core.parts.claims",),
    "by_wall": ("core.parts.claims",),
    "due_ms": ("core.parts.claims", "core.parts.schedules", "core.wheel"),
    "activities": ("core.parts.activity",),
    "channels": ("core.parts.channels", "core.parts.device_facts", "client.service_devices"),
    "record": ("core.publisher", "core.face_records"),
    "seen_ms": ("core.publisher",),
    "said_ms": ("core.said_times",),
    "since_ms": ("core.publisher", "core.parts.claims", "client.protocol.session"),
    "encoded": ("core.publisher", "core.face_records"),
    "digest": ("core.publisher", "core.face_records"),
    "faces": ("core.face_records",),
    "hidden_watchers": ("core.parts.watches",),
    "primary": ("core.publisher", PROJECTED),
    "dirty": ("core.publisher",),
    "push_credit": ("core.spacing",),
    "push_refilled_ms": ("core.spacing",),
    "push_waits": ("core.spacing",),
    "is_copy": ("core.parts.users",),
    "watchers": ("core.parts.watches", "core.parts.channels"),
    # what a user says about who may see them: User, Privacy
    "privacy": ("core.parts.privacy_base",),
    "blocked": ("core.parts.privacy",),
    "hidden": ("core.parts.privacy",),
    "unseen": ("core.parts.privacy",),
    "audience": ("core.parts.privacy",),
    "shown_to": ("core.parts.showings",),
    "shown_by": ("core.parts.showings",),
    # a user's own state: Own
    "own": ("core.parts.own_state",),
    "sessions": ("core.parts.own_state",),
    "stale": ("core.parts.own_state",),
    "synced_ms": ("core.parts.own_state",),
    "shape": ("core.parts.own_state",),
    "version": ("core.parts.own_state",),
    # what somebody waits for: Session, User, AwaitedUser, PendingAwait
    "awaits": ("core.parts.awaits",),
    "awaited": ("core.parts.awaits",),
    "of_kinds": ("core.parts.awaits",),
    "states": ("core.parts.awaits",),
    "record_changes": ("core.parts.awaits",),
    "shown_changes": ("core.parts.awaits",),
    "all_changes": ("core.parts.awaits",),
    "counted_kinds": ("core.parts.awaits",),
    "held_from_ms": ("core.parts.awaits",),
    "face": ("core.parts.awaits",),
    "looked": ("core.parts.awaits",),
    "is_over": ("core.parts.awaits",),
    # one channel: Channel
    "members": ("core.parts.channels",),
    "counts": ("core.parts.channels",),
    "online": ("core.parts.channels",),
    "watched_seq": ("core.parts.channels",),
    "paged_seq": ("core.parts.channels",),
    "is_large": ("core.parts.channels",),
    "changed": ("core.parts.channel_reports", "server.zones"),
    "left": ("core.parts.channel_reports", "core.parts.clock_jumps"),
    "queued": ("core.parts.channel_reports",),
    # what the operator is told that was met: Policy, RecoveryFindings; the bound of a link's frames after its hello
    "kinds_met": ("core.parts.leases",),
    "remarks": ("storage.check", "storage.recovery"),
    # counters of the server, each counted where it happens: Stats, Memory
    "accepted": ("server.links",),
    "goodbyes": ("server.links", "server.admission"),
    "frames_in": ("server.conversation",),
    "hellos": ("server.links",),
    "handshakes_failed": ("server.acceptor",),
    "cut_off": ("server.acceptor",),
    "accept_failures": ("server.admission",),
    "stalls": ("server.pacing",),
    "wall_jumps": ("server.pulse",),
    "wall_jump_ms": ("server.pulse",),
    "ready_took_ms": ("server.lifecycle",),
    "refused_hellos": ("server.greeting",),
    "refused_links": ("server.admission",),
    "ended_links": ("server.shedding",),
    "free_look_ms": ("server.memory_guard",),
    "give_back_ms": ("server.memory_guard",),
    "given_back_bytes": ("server.memory_guard",),
    # what the links of an account cost, and where they stand in the lines for a turn: Account
    "credit": (
        "server.conversation",
        "server.intake",
        "server.transports.tcp",
        "server.transports.websocket",
    ),
    "line": ("server.turn_shares",),
    "turn": ("server.turn_shares",),
    "used_ns": ("server.turn_shares",),
    # what OpenSSL is to do, beside options of ours of the same name: SSLContext
    "options": ("server.tls",),
    # a link that acts at other nodes, and what it has asked of them: Relay, OwnDevice, Errand, RouteParts
    "own_device": ("cluster.links.answers", "cluster.links.own_devices", "cluster.links.relays"),
    "rounds": ("cluster.links.answers", "cluster.links.relays"),
    "waiting": ("cluster.links.dispatch", "cluster.links.relays", "conformance.client_play"),
    "returned": ("cluster.links.dispatch",),
    "held": ("cluster.links.relays",),
    "ref_of": ("cluster.links.relays",),
    "attaching": ("cluster.links.device_requests",),
    "missed": ("cluster.links.answers",),
    "has_said_bye": ("cluster.links.relays",),
    "load": ("cluster.links.relays",),
    "hello": ("cluster.links.device_requests",),
    "home": ("cluster.links.answers", "cluster.links.own_devices", "cluster.links.relay"),
    "opening": ("cluster.links.own_devices",),
    "is_attached": ("cluster.links.own_devices",),
    "opens": ("cluster.links.own_devices",),
    "user": ("cluster.links.device_requests", "cluster.links.dispatch"),
    "repeats": ("cluster.links.dispatch",),
    "releases": ("cluster.links.device_requests",),
    "parts": ("cluster.links.dispatch",),
    "is_done": ("cluster.links.answers", "cluster.links.dispatch", "cluster.links.relays"),
    "open_parts": ("cluster.links.answers",),
    "answers": ("cluster.links.answers",),
    "error": ("cluster.links.answers",),
    # what a client has asked and waits for: PendingRequest
    "waiters": ("client.protocol.session", "client.protocol.attachments"),
    "sent_ms": ("client.protocol.session",),
    "message": ("client.protocol.session",),
    # a device that a service speaks for: AttachedDevice
    "activity": ("client.service_devices",),
    "wanted_by": ("client.protocol.attachments",),
    "is_granted": ("client.protocol.attachments",),
    "is_live": ("client.protocol.attachments",),
    "is_refused": ("client.protocol.attachments",),
    "is_to_join": ("client.protocol.attachments",),
    "loss": ("client.protocol.attachments",),
}
"""Attribute to the modules that may write it on an object other than `self`. An attribute that is not here is written
by the module alone whose class has it. So only those are here whose class is data, with the rules elsewhere."""

CHANGES = frozenset(
    "add append appendleft clear difference_update discard extend extendleft insert intersection_update move_to_end "
    "pop popitem popleft remove reverse rotate setdefault sort symmetric_difference_update update".split()
)
"""Methods by which a container changes."""


class Write(NamedTuple):
    """A place where an attribute of an object other than `self` is bound, or what it holds is changed."""

    line: int
    attribute: str
    method: str
    """The method of the container that changes it; empty where the attribute or an entry is bound or deleted."""
    text: str


def owners(sources: Sequence[Source]) -> Iterator[Complaint]:
    """State is written by its owner alone."""
    definers = _definers(sources)
    parts = _parts(sources)
    for source in sources:
        for write in _writes(source):
            if write.attribute not in definers or (write.attribute, write.method) in parts:
                continue  # not state of ours, or a call of a part that owns what is behind it
            allowed = OWNERS.get(write.attribute) or _nearest(source.part, definers[write.attribute])
            if source.module in allowed:
                continue
            owner = " or ".join(sorted(allowed))
            why = f"writes {write.text}, which {owner} owns: call a method of the owner"
            yield Complaint(source.path, write.line, write.attribute, why)


def _nearest(part: str, definers: Collection[str]) -> tuple[str, ...]:
    """The modules that have an attribute: those of one's own package, if there are any."""
    own = tuple(module for module in definers if module.split(".")[0] == part)
    return own or tuple(definers)


def owners_are_needed(sources: Sequence[Source]) -> Iterator[Complaint]:
    """Nobody stands in OWNERS who writes nothing."""
    written = {(write.attribute, source.module) for source in sources for write in _writes(source)}
    for attribute, modules in OWNERS.items():
        for module in modules:
            if (attribute, module) not in written:
                yield Complaint(
                    "tests/tidy/state.py", 1, attribute, f"{module} does not write {attribute}; take it off OWNERS"
                )


def _definers(sources: Sequence[Source]) -> dict[str, dict[str, None]]:
    """Attribute to the modules that have a class with it."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for source in sources:
        for part in _class_nodes(source):
            for name in _defined(part):
                found[name][source.module] = None
    return found


def _class_nodes(source: Source) -> Iterator[ast.ClassDef]:
    return (node for node in walk(source.tree) if isinstance(node, ast.ClassDef))


def _defined(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id
    for inner in walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and _is_self(inner.value):
            yield inner.attr


def _parts(sources: Sequence[Source]) -> set[tuple[str, str]]:
    """Attributes that hold an object of a class of ours, each with the methods of that class."""
    methods = {
        node.name: [inner.name for inner in node.body if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef))]
        for source in sources
        for node in _class_nodes(source)
    }
    found: set[tuple[str, str]] = set()
    for source in sources:
        for attribute, kind in _kinds(source):
            found.update((attribute, method) for method in methods.get(kind, ()))
    return found


def _kinds(source: Source) -> Iterator[tuple[str, str]]:
    """Attributes, and the class of what they hold where the text says it: `self.wheel = Wheel(...)`, `wheel: Wheel`,
    `def __init__(self, wheel: Wheel): self.wheel = wheel`."""
    for node in walk(source.tree):
        if isinstance(node, ast.AnnAssign):
            target = node.target
            name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
            yield name, _class_name(node.annotation)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = {arg.arg: _class_name(arg.annotation) for arg in (*node.args.args, *node.args.kwonlyargs)}
            for inner in walk(node):
                if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Attribute):
                    value = inner.value
                    if isinstance(value, ast.Call):
                        yield inner.targets[0].attr, _class_name(value.func)
                    elif isinstance(value, ast.Name):
                        yield inner.targets[0].attr, given.get(value.id, "")


def _class_name(node: ast.expr | None) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.BinOp):  # `Wheel | None`
        return _class_name(node.left)
    if isinstance(node, ast.Subscript):  # `Sync[Wheel]`
        return _class_name(node.value)
    return node.id if isinstance(node, ast.Name) else ""


@cache
def _writes(source: Source) -> list[Write]:
    modules = {alias.asname or alias.name for node in walk(source.tree) if isinstance(node, ast.Import)
               for alias in node.names}  # fmt: skip
    found: dict[tuple[int, int], Write] = {}
    for scope in walk(source.tree):
        if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
            aliases = _aliases(scope)
            for place, target, method in _changed(scope):
                attribute = _foreign(target, aliases, modules)
                if attribute is not None:
                    at = (place.lineno, target.col_offset)
                    found[at] = Write(place.lineno, attribute.attr, method, ast.unparse(attribute))
    return list(found.values())


def _aliases(scope: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, ast.Attribute]:
    """Names that stand for an attribute all through a function: `pending = session.pending`."""
    bound: dict[str, list[ast.expr | None]] = defaultdict(list)
    for node in walk(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound[node.id].append(None)
    for node in walk(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            bound[node.targets[0].id].append(node.value)
        elif isinstance(node, ast.NamedExpr):
            bound[node.target.id].append(node.value)
    return {
        name: values[1] for name, values in bound.items() if len(values) == 2 and isinstance(values[1], ast.Attribute)
    }


def _changed(scope: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.expr, str]]:
    """What a function binds, deletes or changes, with where, and by which method of a container."""
    for node in walk(scope):
        if isinstance(node, (ast.Assign, ast.Delete)):
            for target in node.targets:
                parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
                yield from ((node, part, "") for part in parts if not isinstance(part, ast.Name))
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            if not isinstance(node.target, ast.Name):
                yield node, node.target, ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            yield node, node.func.value, node.func.attr


def _foreign(target: ast.expr, aliases: dict[str, ast.Attribute], modules: set[str]) -> ast.Attribute | None:
    """The attribute that a target is of, or is inside of, if it is one of an object other than `self`."""
    while isinstance(target, (ast.Subscript, ast.Starred)):
        target = target.value
    if isinstance(target, ast.Name):
        target = aliases.get(target.id, target)
    if not isinstance(target, ast.Attribute) or _is_self(target.value):
        return None
    if isinstance(target.value, ast.Name) and target.value.id in modules:
        return None  # `gc.callbacks`
    return target


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_own(target: ast.expr) -> bool:
    """Whether it is inside of `self`."""
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        target = target.value
    return _is_self(target)


def requests_write_nothing(source: Source) -> Iterator[tuple[int, str]]:
    """Requests write no state at all."""
    if not source.module.startswith(("core.requests", "chat_commands")):
        return
    for line, name in imports(source):
        if name.startswith(("presenced.core.records", "presenced.core.wheel")):
            yield line, f"imports {name}: facts and deadlines are the engine's and its parts'"
    for node in walk(source.tree):
        if isinstance(node, (ast.Assign, ast.Delete)):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        else:
            continue
        if any(isinstance(target, (ast.Attribute, ast.Subscript)) and not _is_own(target) for target in targets):
            yield node.lineno, "writes state: a request checks, makes one call of the engine or a part, and replies"
