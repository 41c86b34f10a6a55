"""Which addresses are of the public internet. Everything else may be a service that trusts whoever can reach it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_V4 = [
    (ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "of this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "of a carrier's own network"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, as those of cloud metadata are"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "for special purposes"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "of a relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for measurements"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
]
_V6 = [
    (ip_network(network), what)
    for network, what in (
        ("2001::/23", "for special purposes"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "of a tunnel to an IPv4 address"),
        ("3fff::/20", "for documentation"),
    )
]
_V6_PUBLIC = ip_network("2000::/3")
"""All that was ever given out as public addresses (IANA, IPv6 Global Unicast)."""
_NAT64 = ip_network("64:ff9b::/96")


def why_not_public(address: str) -> str:
    """Why no connection may be made to the address, in words that follow "it is"; empty if it is public."""
    found = ip_address(address.partition("%")[0])
    return _why_v4(found) if isinstance(found, IPv4Address) else _why_v6(found)


def _why_v4(address: IPv4Address) -> str:
    return next((what for network, what in _V4 if address in network), "")


def _why_v6(address: IPv6Address) -> str:
    if address.ipv4_mapped is not None:
        return _why_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _why_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address not in _V6_PUBLIC:
        if address.is_loopback:
            return "loopback"
        return "multicast" if address.is_multicast else "private or link-local"
    return next((what for network, what in _V6 if address in network), "")
