"""Hosts and ports as settings write them. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

PORT_MAX: Final = 65535


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 host may stand in brackets. Raises `ValueError`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdecimal() or len(port) > 5 or int(port) > PORT_MAX:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if not host.isprintable() or " " in host or "[" in host or "]" in host or "/" in host:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
