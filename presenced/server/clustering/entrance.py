"""How a server becomes a node: the one call that the start makes where `cluster.url` is set."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from presenced.backplane.errors import BackplaneError, Fenced, Refused, Unreachable
from presenced.backplane.opener import open_backplane
from presenced.cluster.levels import NotUnderstood
from presenced.cluster.log.node_choices import NodeChoices
from presenced.config.settings import Settings, SettingsError
from presenced.config.shared_keys import shared_digests
from presenced.server.clocks import Clocks
from presenced.server.clustering.membership import Membership
from presenced.server.clustering.status import EngineStatus
from presenced.server.drain import Stopping
from presenced.server.engine_access import access_to_engine
from presenced.server.links import Links
from presenced.server.node_end import NodeEnded
from presenced.server.pacing import Pacing

if TYPE_CHECKING:
    from presenced.backplane.redis_engine import RedisBackplane


async def open_cluster(
    settings: Settings,
    links: Links,
    pacing: Pacing,
    clocks: Clocks,
    on_failure: Callable[[Exception], object],
    joining: Callable[[Membership], object],
    drain: Callable[[], Stopping],
    settings_now: Callable[[], Settings],
) -> Membership:
    """Join the cluster, and return once this node knows all users and may serve. The own disk was read before.
    `on_failure` is called if the node cannot go on later, and `joining` before it joins, with who tells how far it is;
    `drain` lets the server stop in order; `settings_now` gives the settings in force. Raises `SettingsError` and
    `NodeEnded`."""
    try:
        backplane = open_backplane(
            access_to_engine(settings),
            prefix=settings.cluster_prefix,
            lease_ms=settings.cluster_lease_ms,
            replicas=1 if settings.cluster_ack == "replica" else 0,
        )
        membership = Membership(
            backplane,
            settings.node_name,
            links,
            pacing,
            clocks,
            linger_ms=settings.cluster_linger_ms,
            lease_ms=settings.cluster_lease_ms,
            engine_status=partial(engine_status, backplane),
            acks_by_disk=settings.cluster_ack == "disk",
            acks_by_replica=settings.cluster_ack == "replica",
            on_failure=lambda error: on_failure(node_ended(error, settings)),
            drain=drain,
            choices=lambda: choices_of(settings_now()),
        )
        joining(membership)
        await membership.join()
    except (BackplaneError, NotUnderstood) as error:
        if isinstance(error, Refused) and error.code != "parcel_lost":
            raise SettingsError(f"cluster.url: {error.sentence}") from None
        raise node_ended(error, settings) from None
    return membership


def choices_of(settings: Settings) -> NodeChoices:
    """What a node with these settings says of them to the others."""
    return NodeChoices(shared_digests(settings), posts_webhooks=bool(settings.webhooks_url))


def engine_status(backplane: RedisBackplane, away_ms: int, trouble: str) -> EngineStatus:
    """The engine as it was when it was last connected to, which has not answered for so long, and why."""
    engine = backplane.engine
    if engine is None:
        return EngineStatus(backplane.place, "", "", "", away_ms, trouble)
    return EngineStatus(backplane.place, engine.role, str(engine), engine.eviction, away_ms, trouble)


def node_ended(error: Exception, settings: Settings) -> Exception:
    """Why the node cannot go on, in a sentence that says what to do; a bug is told as what it is."""
    name = settings.node_name
    if isinstance(error, NotUnderstood):
        sentence = f"a later version is in the cluster that says what the node {name} does not understand ({error})"
        return NodeEnded(f"{sentence}; upgrade this node", is_lasting=True)
    if not isinstance(error, BackplaneError):
        return error
    match error:
        case Fenced() if error.by:
            sentence = f"another daemon has joined the cluster as {name}; give each a name of its own (cluster.node)"
            return NodeEnded(sentence, is_lasting=True)
        case Fenced():
            sentence = f"the cluster goes on without the node {name}, which was not heard of for longer than its lease"
            return NodeEnded(f"{sentence}; started again, it joins anew")
        case Refused(code="parcel_lost"):
            # What it was to be told lay beside the log for too short a time: of another life it will be told again.
            return NodeEnded(f"the node {name} did not take in time what the others know; started again, it joins anew")
        case Refused():
            return NodeEnded(f"the cluster's Redis cannot be used any longer: {error.sentence}", is_lasting=True)
        case Unreachable():
            return NodeEnded(f"the cluster's Redis does not answer: {error}; start it, then this node again")
    return NodeEnded(f"the cluster goes on without the node {name}: {error}; started again, it joins anew")
