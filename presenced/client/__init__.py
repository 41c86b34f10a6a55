"""The Python client. Knows nothing of the server.

`protocol` is what a client knows over all its links, without sockets or a loop. An asyncio shell stands around it:
`link` is one TCP connection, `reconnect` keeps one open, `exchange` sends requests and takes replies, `connection` puts
these together, and `streams` are the iterators. On top are the acts about a user (`acts`), a user's client and a
service's (`client`, `service` with `service_devices` and `pages`), how one connects (`client_factory`), and the client
without `await` (`blocking_client`).
"""

from __future__ import annotations

import logging

from presenced.client.client import Client as Client
from presenced.client.client_factory import connect as connect, connect_service as connect_service
from presenced.client.connector import Connecting as Connecting
from presenced.client.contact_streams import ContactChanges as ContactChanges, ContactsWatch as ContactsWatch
from presenced.client.event_acts import UserHistory as UserHistory
from presenced.client.event_stream import Events as Events
from presenced.client.identity import Token as Token
from presenced.client.link_state import State as State
from presenced.client.losses import Losses as Losses
from presenced.client.pages import Page as Page
from presenced.client.protocol.changes import Change as Change, Kind as Kind
from presenced.client.protocol.channels import MemberChange as MemberChange, MemberChangeKind as MemberChangeKind
from presenced.client.protocol.contact_lists import ContactChange as ContactChange, ContactKind as ContactKind
from presenced.client.protocol.event_feed import Event as Event, EventName as EventName
from presenced.client.protocol.list_parts import ContactLike as ContactLike
from presenced.client.schedule_windows import WindowLike as WindowLike
from presenced.client.service import Service as Service
from presenced.client.streams import (
    ChannelWatch as ChannelWatch,
    EveryoneWatch as EveryoneWatch,
)
from presenced.client.telemetry import (
    CallTelemetry as CallTelemetry,
    ClientFacts as ClientFacts,
    ClientTelemetry as ClientTelemetry,
    Telemetry as Telemetry,
)
from presenced.client.user_watch import Watch as Watch
from presenced.client.values import (
    Answer as Answer,
    Attachment as Attachment,
    Audience as Audience,
    Blocked as Blocked,
    ContactsPage as ContactsPage,
    Idle as Idle,
    Lasting as Lasting,
    MembersPage as MembersPage,
    Moment as Moment,
    Schedule as Schedule,
    SyncStatus as SyncStatus,
    Taken as Taken,
    Until as Until,
    ValidStatus as ValidStatus,
    ViewChecks as ViewChecks,
    WhoPage as WhoPage,
)
from presenced.wire.messages import (
    ActivityInfo as ActivityInfo,
    AudienceLevel as AudienceLevel,
    ClaimInfo as ClaimInfo,
    ContactEntry as ContactEntry,
    ContactInfo as ContactInfo,
    DeviceInfo as DeviceInfo,
    DeviceState as DeviceState,
    DeviceStatus as DeviceStatus,
    Explanation as Explanation,
    FollowerInfo as FollowerInfo,
    OwnState as OwnState,
    Record as Record,
    Role as Role,
    RouteInfo as RouteInfo,
    Source as Source,
    Status as Status,
    StatusRequest as StatusRequest,
    Subscription as Subscription,
    TargetInfo as TargetInfo,
    Urgency as Urgency,
    Verdict as Verdict,
    Welcome as Welcome,
    Window as Window,
)

# An application that has not set up logging sees nothing of a library's; without a handler Python would print it.
logging.getLogger("presenced.client").addHandler(logging.NullHandler())
