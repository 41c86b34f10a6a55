"""Mosquitto: presence over MQTT 3.1.1 as it is usually built, with a retained topic for each user and a last will.

A user's client publishes its status to `presence/USER` with the retain flag, so that a newcomer who subscribes is
told at once, and leaves a will with the broker that says it is offline. Watchers subscribe with QoS 0; the one who
changes publishes with QoS 1 and waits for the acknowledgement.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from pathlib import Path

from bench.peers.base import GHOST, MARK, PAYLOAD, Contacts, Conversation, Delivery, Known, PeerFailed
from bench.peers.programs import External, is_root

CONNACK = b"\x20\x02\x00\x00"
GONE = b"#offline..;"
DISCONNECT = b"\xe0\x00"
FILTERS_PER_SUBSCRIBE = 500


class Mosquitto(External):
    """Mosquitto without persistence."""

    name = "mosquitto"
    program = "mosquitto"
    speaks_tls = True
    package = "mosquitto"
    about = (
        "Mosquitto: retained presence topics and last wills, MQTT 3.1.1, QoS 0 to watchers and 1 from the one who "
        "changes; no persistence, no limit on queues"
    )
    version_option = "-h"
    version_pattern = r"version (\d\S*)"

    units = re.compile(
        rb"\x40\x02..|\x90[\x80-\xff]?[\x00-\x7f]..\x00*|"
        rb"[\x30\x31][\x80-\xff]?[\x00-\x7f]\x00.presence/(?P<user>[^#]+)(?P<payload>" + PAYLOAD + rb")",
        re.DOTALL,
    )
    mark = MARK

    def command(self, program: str, workdir: Path, users: Sequence[str], contacts: Contacts) -> list[str]:
        """A file with limits out of the way."""
        config = workdir / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "persistence false",
            "set_tcp_nodelay true",
            "max_inflight_messages 0",
            "max_queued_messages 0",
            "max_queued_bytes 0",
            "sys_interval 0",
            "log_type error",
            "log_type warning",
            "log_dest stderr",
        ]
        if self.tls is not None:
            lines[1:1] = [f"certfile {self.tls.certificate}", f"keyfile {self.tls.key}"]
        config.write_text("\n".join([*lines, *(["user root"] if is_root() else [])]) + "\n")
        return [program, "-c", str(config)]

    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """CONNECT with a will, SUBSCRIBE to all contacts, and the own retained PUBLISH, all in one write."""
        return login(self, user, contacts, records=records)

    def logout(self, user: str) -> bytes:
        """Offline by its own word; a will is for those who are lost."""
        return packet(0x31, text(topic(user)) + GONE) + DISCONNECT

    def change(self, user: str, number: int) -> bytes:
        """PUBLISH, retained, QoS 1."""
        return packet(0x33, text(topic(user)) + identifier(number) + self.payload(number))

    def answer(self, user: str, number: int) -> bytes:
        """PUBACK."""
        return b"\x40\x02" + identifier(number)

    def delivered(self, reader: str, found: re.Match[bytes]) -> Delivery | None:
        """As everywhere, but a will may say that somebody is gone."""
        if found["payload"] == GONE:
            return found["user"].decode(), GHOST
        return super().delivered(reader, found)


def login(broker: Mosquitto, user: str, contacts: Sequence[str], *, records: bool) -> Generator[bytes, bytes, Known]:
    """The login of a user: over when its own announcement is acknowledged, and all contacts are told if asked for."""
    will = text(topic(user)) + text(GONE)
    said = [packet(0x10, text(b"MQTT") + b"\x04\x26\x00\x00" + text(user.encode()) + will)]
    for at in range(0, len(contacts), FILTERS_PER_SUBSCRIBE):
        filters = b"".join(text(topic(name)) + b"\x00" for name in contacts[at : at + FILTERS_PER_SUBSCRIBE])
        said.append(packet(0x82, identifier(at) + filters))
    came = yield b"".join(said) + broker.change(user, 0)
    acknowledged = broker.answer(user, 0)
    while acknowledged not in came or (records and came.count(MARK) < len(contacts)):
        if not came.startswith(CONNACK[: len(came)]):
            raise PeerFailed(f"Mosquitto refused {user}; it said {came[:100]!r}")
        came += yield b""
    told = broker.units.finditer(came)
    return {found["user"].decode(): broker.number_of(found["payload"]) for found in told if found["user"]}


def topic(user: str) -> bytes:
    """Where a user's presence is."""
    return b"presence/" + user.encode()


def identifier(number: int) -> bytes:
    """A packet identifier for the message with this number: never 0."""
    return (1 + number % 65_535).to_bytes(2, "big")


def text(value: bytes) -> bytes:
    """A string with its length before it."""
    return len(value).to_bytes(2, "big") + value


def packet(kind: int, body: bytes) -> bytes:
    """A control packet."""
    size, digits = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | 0x80 if size else digit)
        if not size:
            return bytes([kind, *digits]) + body
