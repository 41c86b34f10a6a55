"""Combinations of the settings of a cluster that cannot work, as a part of the table in `rules`. Pure."""

from __future__ import annotations

from presenced.config.engine_rules import Say
from presenced.config.hosts import parse_address
from presenced.config.settings import Settings

CLUSTER_FIELDS = ("cluster_url", "nodes")


def sharing_needs_cluster(settings: Settings, say: Say) -> str:
    """Two daemons behind one port that know nothing of each other would each tell another truth."""
    if not settings.listen_shared or settings.cluster_url:
        return ""
    return (
        f"{say('listen_shared')} lets several daemons take the clients of one address, and without cluster.url none of "
        "them knows the users of the others; give --cluster URL (cluster.url), or leave listen.shared out"
    )


def own_address_is_another(settings: Settings, say: Say) -> str:
    """The own address is one more, and another."""
    if not settings.http_own:
        return ""
    if not settings.http:
        return f"{say('http_own')} is one more address, and http.address is not set; set that alone"
    own = parse_address(settings.http_own)
    for field, other in (("http", parse_address(settings.http)), ("listen", settings.address())):
        if own == other and own[1]:
            return f"{say('http_own')} is the address that {say(field)} has; give one of them another port"
    return ""


def nodes_have_ports(settings: Settings, say: Say) -> str:
    """Node K has its own HTTP address K ports above that of all, and those ports must be nobody else's."""
    if settings.nodes == 1 or not settings.http:
        return ""
    first = first_own_port(settings)
    if first == 0:
        return f"{say('http')} has port 0, so that nobody would find each of {settings.nodes} nodes; name one"
    last = first + settings.nodes - 1
    if last > 65_535:
        return f"{say('nodes')}: the nodes have the HTTP ports {first} to {last}, and there are none above 65535"
    if first <= settings.address()[1] <= last:
        return (
            f"{say('nodes')}: the nodes have the HTTP ports {first} to {last}, and {say('listen')} is among "
            "them; give one of them another port"
        )
    return ""


def first_own_port(settings: Settings) -> int:
    """The own HTTP port of node 1, of several that one command starts; 0 = none can be told."""
    if settings.http_own:
        return parse_address(settings.http_own)[1]
    port = parse_address(settings.http)[1]
    return port + 1 if port else 0
