"""Whose pages may ask, under which names, and who a proxy asks for.

A browser says which page asks (RFC 6454): a page of a stranger must not speak for the person before the screen.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping

from presenced.http.heads import without_port


def is_known(host: str, names: Collection[str]) -> bool:
    """Whether a browser that names this host shows a page of ours: it names an address, `localhost`, or one of `names`.

    Another name may belong to a stranger's page that pointed its name to this machine after it was loaded (DNS
    rebinding), and that page would read the answer. A program that sends no Host is no browser.
    """
    if not host or host == "localhost" or host.endswith(".localhost") or host in names or "*" in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_own(origin: str, host_header: str, names: Collection[str]) -> bool:
    """Whether the page that asks came from this listener itself, under a name that is known."""
    _, found, place = origin.lower().partition("://")
    return bool(found) and place == host_header.strip().lower() and is_known(without_port(place), names)


def is_allowed(origin: str, host_header: str, names: Collection[str], origins: Collection[str]) -> bool:
    """Whether a page of this origin may ask: it is the listener's own, or on the list of origins (`*` = all)."""
    return "*" in origins or origin.lower() in origins or is_own(origin, host_header, names)


def words(given: str) -> tuple[str, ...]:
    """The words of a setting with commas between them, in small letters."""
    return tuple(word for part in given.split(",") if (word := part.strip().lower().rstrip("/")))


def client_of(peer: str, is_secure: bool, headers: Mapping[str, str], trusted: Collection[str]) -> tuple[str, bool]:
    """The address that asks, and whether it does so over TLS: as the headers of a proxy say if the connection comes
    from one that is `trusted`. Of several addresses it is the last that no trusted proxy has."""
    if not trusted or not is_within(peer, trusted):
        return peer, is_secure
    named = [part.strip() for part in headers.get("x-forwarded-for", "").split(",") if part.strip()]
    others = [address for address in named if not is_within(without_port(address), trusted)]
    scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    return (others or named or [peer])[-1][:64], scheme == "https" if scheme else is_secure


def is_within(address: str, networks: Collection[str]) -> bool:
    """Whether the address is in one of the networks. O(networks)."""
    try:
        found = ipaddress.ip_address(address)
        return any(found in ipaddress.ip_network(network, strict=False) for network in networks)
    except ValueError:
        return False
