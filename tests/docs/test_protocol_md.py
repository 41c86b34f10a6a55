"""Holds protocol.md against the code: tables, numbers, codes and hex examples, in both directions.

Each check compares a whole table with what the code says, so that a row too many fails as surely as one too few.
"""

from __future__ import annotations

import inspect as python_inspect
import re
from typing import Any, get_args

import msgpack
import msgspec
import pytest
from msgspec import inspect

import presenced
from presenced import limits
from presenced.address import DEFAULT_PORT
from presenced.chat_commands.verbs import BY_NAME
from presenced.core.parts.schedules import SCHEDULE_CHECK_MS
from presenced.core.precedence import RANK
from presenced.core.requests import HANDLERS, costs
from presenced.core.rights import LISTS
from presenced.core.wheel import TICK_MS
from presenced.errors import CODES
from presenced.http.api.codes import HTTP_CODES
from presenced.http.api.requests import REQUESTS
from presenced.webhooks.payloads import LOST
from presenced.wire import codec, frames, messages
from tests.docs.document import (
    DOCUMENTED,
    EXAMPLES,
    MESSAGES,
    NESTED,
    SECTIONS,
    STRING_LIMITS,
    STRUCTS,
    TEXT,
    Example,
    decoded,
    default_words,
    limit_words,
    table,
    type_words,
)

SERVER_ONLY_LIMITS = {
    "FRAMES_PER_WAKE_MAX",
    "SHARE_MS",
    "BACKLOG_SHARE_MS",
    "THROTTLE_MS",
    "SEND_BUFFER_BYTES",
    "DESCRIPTORS_RESERVED",
    "HTTP_CONNECTIONS_MAX",
    "SLEEP_AFTER_MS",
    "HTTP_LINKS_MAX",
    "HTTP_LINK_IDLE_MS",
    "STALL_MS",
    "READ_ONLY_RETRY_MS",
    "SNAPSHOT_LOG_BYTES",
    "SNAPSHOT_EVERY_MS",
    "DRAIN_SPREAD_MS",
    "DRAIN_TIMEOUT_MS",
    "MEMORY_AUTO_PERCENT",
    "MEMORY_ENDING_PERCENT",
    "MEMORY_RELIEF_PERCENT",
    "MEMORY_GLANCE_MS",
    "REPLY_BYTES_PER_TURN",
    "CURIOUS_USERS_MAX",
    "CLUSTER_LEASE_MS",
    "CLUSTER_LEASE_MS_MIN",
    "CLUSTER_LINGER_MS",
}
"""Bounds that no client can notice. Every other one must stand in protocol.md."""


# --- messages ----------------------------------------------------------------------------------------------------


def test_sections_are_numbered_without_gaps() -> None:
    """A reference to a section must never point to another one."""
    tops = [int(number) for number in SECTIONS if "." not in number]
    assert tops == list(range(1, len(tops) + 1))
    for top in tops:
        subs = [int(number.split(".")[1]) for number in SECTIONS if number.startswith(f"{top}.")]
        assert subs == list(range(1, len(subs) + 1)), f"gaps or disorder in section {top}"


def test_every_message_is_documented_and_no_other() -> None:
    documented = {number: name for name, (_, number) in DOCUMENTED.items() if number is not None}
    assert documented == {number: struct.__name__ for number, struct in MESSAGES.items()}


def test_every_struct_without_a_type_is_documented_and_no_other() -> None:
    assert {name for name, (_, number) in DOCUMENTED.items() if number is None} == set(NESTED)


def test_type_numbers_are_the_struct_tags() -> None:
    for number, struct in MESSAGES.items():
        assert struct.__struct_config__.tag == number


def test_the_overview_lists_every_message_with_its_sender() -> None:
    rows = [(int(row["type"]), row["name"], row["sent by"]) for row in table(SECTIONS["5"].body, "type")]
    client = [(number, struct.__name__, "client") for number, struct in codec.CLIENT_MESSAGES.items()]
    server = [(number, struct.__name__, "server") for number, struct in codec.SERVER_MESSAGES.items()]
    assert rows == client + server


def test_each_section_names_the_sender() -> None:
    for number, struct in MESSAGES.items():
        sender = "client" if number in codec.CLIENT_MESSAGES else "server"
        section, _ = DOCUMENTED[struct.__name__]
        assert f"Sent by the {sender}" in SECTIONS[section].body, f"section {section}"


@pytest.mark.parametrize("struct", STRUCTS)
def test_field_table_is_the_struct(struct: str) -> None:
    """Positions, names, types, defaults and limits; the order of the rows is the order on the wire."""
    info = inspect.type_info(STRUCTS[struct])
    assert isinstance(info, inspect.StructType)
    section, _ = DOCUMENTED[struct]
    rows = table(SECTIONS[section].body, "#")
    assert [row["field"] for row in rows] == [f"`{field.name}`" for field in info.fields]
    for position, (row, field) in enumerate(zip(rows, info.fields, strict=True), 0 if struct in NESTED else 1):
        where = f"{struct}.{field.name} in section {section}"
        assert row["#"] == str(position), where
        assert row["type"] == type_words(field.type), where
        assert row["default"] == default_words(field), where
        limit = limit_words(struct, field.name, field.type)
        if isinstance(limit, frozenset):
            assert sorted(re.findall(r"`(\w+)`", row["limit"])) == sorted(limit), where
        else:
            assert row["limit"] == limit, where
        assert row["meaning"], f"{where} says nothing of its meaning"


def test_every_reference_names_a_section() -> None:
    for number in re.findall(r"section (\d+(?:\.\d+)?)", TEXT):
        assert number in SECTIONS, f"there is no section {number}"


def test_every_string_limit_belongs_to_a_field() -> None:
    fields = {(name, field) for name, struct in STRUCTS.items() for field in struct.__struct_fields__}
    assert set(STRING_LIMITS) <= fields


# --- errors and limits -------------------------------------------------------------------------------------------


def test_error_table_is_the_codes() -> None:
    rows = table(SECTIONS["8"].body, "code")
    said = {
        row["code"].strip("`"): (row["closes the link?"], row["temporary?"], row["meaning"], bool(row["what to do"]))
        for row in rows
    }
    words = {False: "no", True: "yes"}
    assert len(said) == len(rows), "a code stands twice"
    assert said == {
        name: (words[code.closes], words[code.temporary], code.meaning, True) for name, code in CODES.items()
    }


def test_every_code_named_in_the_text_exists() -> None:
    """`no_device` and the like in the sections of the messages: each is a code, a field or a value."""
    known = set(CODES) | {field for struct in STRUCTS.values() for field in struct.__struct_fields__}
    known |= {re.sub(r"(?<!^)(?=[A-Z])", "_", struct.__name__).lower() for struct in MESSAGES.values()}
    known |= {*get_args(messages.DecidingRule), *get_args(messages.DeviceReason), *get_args(messages.ClaimReason)}
    known |= set(get_args(messages.DeadlineKind))
    known |= set(get_args(messages.RouteReason))
    known |= {LOST}
    known |= {*REQUESTS, *HTTP_CODES}
    known |= set(get_args(messages.EventKind)) | set(get_args(messages.TakenWhy)) | {*LISTS, "only_read"}
    for number, section in SECTIONS.items():
        if number == "10.3" or number.startswith("27"):
            continue  # They name the methods of the Python client and the words of the runner, which others look at.
        for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", section.body):
            assert word in known, f"section {number} speaks of `{word}`, which is no code, field or message"


def test_the_tables_of_words_are_the_words() -> None:
    """Sources in order of rank, event kinds and the verbs of commands: a word too many or too few would mislead."""
    sources = [row["source"].strip("`") for row in table(SECTIONS["15.1"].body, "source")]
    assert sources == sorted(RANK, key=RANK.__getitem__, reverse=True)
    kinds = [row["kind"].strip("`") for row in table(SECTIONS["19"].body, "kind")]
    assert kinds == list(get_args(messages.EventKind))
    typed = " ".join(row["typed"] for row in table(SECTIONS["20"].body, "typed"))
    verbs = set(re.findall(r"`(?:/presence ?)?(\w*)[^`]*`", typed)) - {"for"}
    assert verbs == set(BY_NAME)


def test_limit_table_is_the_limits() -> None:
    rows = table(SECTIONS["9"].body, "limit")
    said = {row["limit"].strip("`"): row["value"] for row in rows}
    assert len(said) == len(rows), "a limit stands twice"
    values = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert set(said) | SERVER_ONLY_LIMITS == set(values)
    assert not set(said) & SERVER_ONLY_LIMITS
    assert said == {name: f"{values[name]:g}" if name.endswith("_S") and isinstance(values[name], float)
                    else str(values[name]) for name in said}  # fmt: skip


@pytest.mark.parametrize(
    ("section", "phrase"),
    [
        ("1", f"port {DEFAULT_PORT}"),
        ("1.2", f"1 to {limits.NAME_BYTES_MAX} bytes"),
        ("1.3", f"| {limits.WATCH_USERS_MAX:,} users |"),
        ("1.3", f"| {limits.SERVICE_WATCH_USERS_MAX:,} users |"),
        ("2", f"| client | {limits.HELLO_BYTES_MAX:,} bytes | hello"),
        ("2", f"| client | {limits.FRAME_BYTES_MAX:,} bytes | after"),
        ("2", f"| server | {limits.SERVER_FRAME_BYTES_MAX:,} bytes |"),
        ("2", f"within {limits.FRAME_TIMEOUT_MS // 1000} s"),
        ("4.2", f"1 to {limits.REQUEST_ID_MAX}"),
        ("4.3", f"| TLS handshake | {limits.TLS_HANDSHAKE_S:g} s |"),
        ("4.3", f"| hello | {limits.HELLO_TIMEOUT_MS // 1000} s after"),
        ("4.3", f"| {limits.FRAME_TIMEOUT_MS // 1000} s | `frame_timeout` |"),
        ("4.3", f"({limits.HEARTBEAT_MS // 1000} s by default"),
        ("4.4", f"Close your side; {limits.CLOSE_TIMEOUT_MS // 1000} s later"),
        ("4.5", f"{limits.RATE_UNITS_PER_S} units a second with bursts of {limits.RATE_BURST_UNITS}"),
        ("8.1", f"{limits.MEMORY_RETRY_MS // 1000} to {4 * limits.MEMORY_RETRY_MS // 1000} s in `retry_ms`"),
        ("8.1", f"more than {limits.MEMORY_PATIENCE_MS // 1000} s"),
        ("4.5", f"{limits.SERVICE_RATE_UNITS_PER_S:,} and {limits.SERVICE_RATE_BURST_UNITS:,}"),
        ("4.5", f"| a hello | {costs.HELLO} |"),
        ("4.5", f"| `renew` | {costs.RENEWAL} |"),
        ("4.5", f"for each {costs.NAMES} names"),
        ("4.5", f"for each {costs.NAMES} records"),
        ("4.5", f"`get` with `valid`: for each {costs.FORECASTS} names"),
        ("4.5", f"for each {costs.WINDOWS} windows"),
        ("4.5", f"| `get_history` | {costs.HISTORY} | | and for each {costs.HISTORY_EVENTS} of its `limit` |"),
        ("4.5", f"| `watch_all` with a position | {costs.EVERYBODY} |"),
        ("4.5", f"| `find_claims` | {costs.FIND} |"),
        ("4.5", f"| `erase` | {costs.ERASURE} |"),
        ("4.5", f"`check`: for each {costs.CHECKED} users"),
        ("22.4", f"It costs {costs.EVERYBODY} units"),
        ("25.2", f"kept for {'two' if limits.HTTP_LINK_IDLE_MS == 120_000 else '?'} minutes after the last"),
        ("23.1", f"each {TICK_MS} ms"),
        ("4.5", f"for each {costs.ACTIVITIES} activities"),
        ("4.5", f"for each {costs.DEVICES} devices"),
        ("4.5", f"for each {costs.CHANNELS} channels that the user is in, up to {costs.CHANGE_MAX} units"),
        ("4.5", f"{limits.OUTBOX_BYTES_MAX:,} bytes"),
        ("4.5", f"a budget of {limits.STRANGERS_MAX:,} answers"),
        ("4.5", f"earns one each {limits.STRANGER_REFILL_MS // 1000} s again"),
        ("4.5", f"beyond the budget costs {limits.STRANGER_UNITS} units"),
        ("4.5", f"beyond the budget (below) | {limits.STRANGER_UNITS} |"),
        ("4.5", f"for each {costs.NAMES} names in it and watchers of the user, up to {costs.CHANGE_MAX} units"),
        ("21.6", f"A user blocks up to {limits.BLOCKED_MAX:,} others"),
        ("21.6", f"A user hides from up to {limits.BLOCKED_MAX:,} others"),
        ("21.6", f"A device is shown to up to {limits.SHOWN_TO_MAX} users"),
        ("21.6", f"name up to {limits.AUDIENCE_NAMES_MAX:,} users together"),
        ("4.5", f"for each {costs.ROUTES} names"),
        ("13.75", f"up to {limits.ROUTED_DEVICES_MAX:,} devices"),
        ("23.4", f"a unit for each {costs.ROUTES} users"),
        ("23.6", f"up to {limits.META_BYTES_MAX} bytes"),
        ("6.5", f"more than {limits.CHANGE_BURST} times"),
        ("6.5", f"{limits.CHANGE_SPACING_MS} ms"),
        ("6.5", f"more than {limits.CHANGE_DELIVERIES:,} links"),
        ("6.5", f"at least each {limits.CHANGE_WAIT_MS_MAX // 1000} s"),
        ("7.1", f"({limits.GRACE_MS // 1000} s by default)"),
        ("7.1", f"{limits.DEVICES_PER_USER_MAX} devices"),
        ("7.2", f"({limits.AWAY_AFTER_MS // 60_000} min"),
        ("7.2", f"({limits.OFFLINE_AFTER_MS // 3_600_000} h"),
        ("7.3", f"more than {limits.PRIMARY_HYSTERESIS_MS // 1000} s"),
        ("13.3", f"Up to {limits.BEATS_MAX:,} devices"),
        ("13.11", f"at most {limits.LABEL_BYTES_MAX} bytes"),
        ("13.11", f"{limits.ACTIVITY_AGE_MS_MAX // 86_400_000} days ago or {limits.ACTIVITY_AHEAD_MS_MAX // 1000} s"),
        ("13.16", f"more than {limits.CHANNELS_PER_DEVICE_MAX:,}"),
        ("13.22", f"at most {limits.COMMAND_BYTES_MAX:,} bytes"),
        ("15.1", f"up to {limits.CLAIMS_PER_USER_MAX} at a time"),
        ("15.2", f"within {'an hour' if SCHEDULE_CHECK_MS == 3_600_000 else SCHEDULE_CHECK_MS}"),
        ("16.2", f"newest {limits.ACTIVITIES_PER_USER_MAX} of each user"),
        ("16.2", f"older than {limits.ACTIVITY_AGE_MS_MAX // 86_400_000} days"),
        ("16.2", f"{limits.ACTIVITY_AHEAD_MS_MAX // 1000} s ahead"),
        ("23.3", f"up to {TICK_MS} ms later"),
        ("23.3", f"up to {limits.AWAITS_PER_LINK_MAX} awaits under way"),
        ("23.3", f"`admin` up to {limits.SERVICE_AWAITS_PER_LINK_MAX:,}."),
        ("17", f"in {limits.CHANNELS_PER_DEVICE_MAX:,} channels"),
        ("17", f"in {limits.SERVICE_CHANNELS_PER_DEVICE_MAX:,} if a link of role `service`"),
        ("17", f"together in {limits.MEMBERSHIPS_PER_USER_MAX:,},"),
        ("17", f"up to {limits.CHANNEL_FULL_MAX:,} watchers"),
        ("17", f"fewer than {limits.CHANNEL_FULL_MAX * 8 // 10}"),
        ("17", f"one each {limits.CHANNEL_INTERVAL_MS:,} ms"),
        ("17", f"up to {limits.CHANNEL_BATCH_MAX} members"),
        ("4.5", f"for each {costs.LISTED_CONTACTS:,} in the list"),
        ("4.5", f"for each {costs.SET_CONTACTS} contacts in it"),
        ("13.49", f"up to {limits.UNFINISHED_CONTACTS_MAX:,} contacts"),
        ("21.4", f"up to {limits.CONTACTS_MAX:,} contacts"),
        ("21.5", f"up to {limits.USERS_PER_REQUEST_MAX} records"),
        ("21.4", f"up to {limits.CONTACT_REQUESTS_MAX:,} requests"),
        ("21.4", f"last {limits.CONTACT_CHANGES_KEPT} changes"),
        ("19.1", f"newest {limits.EVENTS_KEEP:,} events"),
        ("23.5", f"up to {limits.HISTORY_EVENTS_MAX} events"),
        ("19.1", f"up to {limits.EVENT_STREAMS_MAX} such lists"),
        ("20", f"up to {limits.COMMAND_LISTED_MAX} records"),
        ("20", f"up to {limits.DURATION_MS_MAX // 86_400_000} days"),
    ],
)
def test_numbers_in_sentences_are_the_limits(section: str, phrase: str) -> None:
    assert phrase in " ".join(SECTIONS[section].body.split()), f"section {section} should say {phrase!r}"


def test_what_costs_more_than_its_frame_stands_in_the_table_of_the_pace() -> None:
    rows = " ".join(row["what"] for row in table(SECTIONS["4.5"].body, "what"))
    dear = {struct.__name__ for struct, handler in HANDLERS.items() if handler.cost is not None}
    assert "GetHistory" in dear
    missing = {name for name in dear if f"`{re.sub('(?<!^)(?=[A-Z])', '_', name).lower()}`" not in rows}
    assert not missing, f"section 4.5 does not say what these cost: {missing}"


# --- examples ----------------------------------------------------------------------------------------------------


def test_every_message_has_an_example() -> None:
    for number, struct in MESSAGES.items():
        section, _ = DOCUMENTED[struct.__name__]
        assert [example for example in EXAMPLES if example.section == section and example.value[0] == number], (
            f"section {section} shows no {struct.__name__}"
        )


def test_every_struct_without_a_type_is_in_an_example() -> None:
    shown = {type(value).__name__ for example in EXAMPLES for value in parts(decoded(example))}
    assert set(NESTED) <= shown


def parts(value: Any) -> list[Any]:
    """`value` and everything inside it."""
    inner = (
        value
        if isinstance(value, list)
        else msgspec.structs.astuple(value)
        if hasattr(value, "__struct_fields__")
        else ()
    )
    return [value, *(part for each in inner for part in parts(each))]


def test_every_hex_block_is_an_example() -> None:
    assert TEXT.count("```hex") == len(EXAMPLES), "a hex block has no json block right below it"


def test_the_first_example_counts_its_bytes_in_words() -> None:
    (example,) = (example for example in EXAMPLES if example.section == "2")
    words = f"a frame of {4 + example.length} bytes: the length {example.length}, then {example.length} bytes"
    assert words in SECTIONS["2"].body


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.section}-{example.value[0]}")
class TestExample:
    def test_length_counts_the_payload(self, example: Example) -> None:
        assert example.length == len(example.payload)
        reader = frames.FrameReader(limits.SERVER_FRAME_BYTES_MAX)
        reader.feed(frames.frame(example.payload))
        assert reader.take(2) == [example.payload]

    def test_the_independent_codec_agrees(self, example: Example) -> None:
        assert msgpack.unpackb(example.payload) == example.value
        assert msgpack.packb(example.value) == example.payload

    def test_our_codec_agrees(self, example: Example) -> None:
        message = decoded(example)
        full = msgspec.msgpack.decode(codec.encode(message))
        assert full[: len(example.value)] == example.value
        if len(full) == len(example.value):
            assert codec.encode(message) == example.payload


# --- facts that a client builds on ---------------------------------------------------------------------------------


def test_shorter_arrays_take_the_documented_defaults() -> None:
    short = codec.decode_client(msgpack.packb([1, [1], "", "alice", "laptop"]))
    assert short == messages.Hello([1], "", "alice", "laptop", "", "", 0, "online", None, "user", "")


def test_elements_of_later_versions_are_ignored() -> None:
    assert codec.decode_client(msgpack.packb([4, 7, "new", [1, 2]])) == messages.Ping(7)


def test_wider_headers_are_accepted() -> None:
    assert codec.decode_client(b"\xdc\x00\x02\xcd\x00\x04\xd3\x00\x00\x00\x00\x00\x00\x00\x07") == messages.Ping(7)


def test_null_is_refused_where_the_table_does_not_name_it() -> None:
    with pytest.raises(codec.BadMessage) as caught:
        codec.decode_client(msgpack.packb([8, 4, None]))
    assert (caught.value.code, caught.value.request_id) == ("bad_request", 4)


def test_the_names_of_methods_are_those_of_the_client_and_each_act_is_named() -> None:
    """Those that are called as their message is need no row."""
    rows = table(SECTIONS["10.3"].body, "method")
    methods = {name for row in rows for name in re.findall(r"`(\w+)`", row["method"])}
    known = {name for kind in (presenced.Client, presenced.Service, presenced.Watch) for name in dir(kind)}
    assert methods <= known
    said = {name for row in rows for name in re.findall(r"\b[A-Z]\w+", row["message"])} - {"Of"}
    assert said <= {*STRUCTS}
    like_messages = {re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower() for name in STRUCTS}
    asking = {
        name
        for kind in (presenced.Client, presenced.Service)
        for name, method in python_inspect.getmembers(kind, python_inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert asking - like_messages <= methods
