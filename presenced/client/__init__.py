"""The Python client: state that knows no sockets and no loop (`session` and its parts `held`, `channels`, `followed`,
`everyone`; `pending`, `changes`, `heartbeat`, `backoff`, `values`, `windows`) under an asyncio shell (`link`, `keeper`,
`connection`, `stream`), and on top of it what all clients ask (`asking`), a user's client, a service's and the
synchronous one (`client`, `service`, `blocking`). Knows nothing of the server.
"""

from __future__ import annotations

from presenced.client.changes import Change as Change, Kind as Kind
from presenced.client.channels import MemberChange as MemberChange, MemberChangeKind as MemberChangeKind
from presenced.client.client import Client as Client
from presenced.client.connect import Connecting as Connecting, connect as connect, connect_service as connect_service
from presenced.client.followed import Event as Event, EventName as EventName
from presenced.client.keeper import State as State, Token as Token
from presenced.client.pages import Page as Page
from presenced.client.service import Service as Service
from presenced.client.stream import ChannelWatch as ChannelWatch, Events as Events, EveryoneWatch as EveryoneWatch
from presenced.client.values import (
    Answer as Answer,
    Attachment as Attachment,
    Idle as Idle,
    MembersPage as MembersPage,
    Moment as Moment,
    Schedule as Schedule,
    SyncStatus as SyncStatus,
    Taken as Taken,
    Until as Until,
    WhoPage as WhoPage,
)
from presenced.client.watch import Watch as Watch
from presenced.client.windows import WindowLike as WindowLike
from presenced.wire.messages import (
    ActivityInfo as ActivityInfo,
    ClaimInfo as ClaimInfo,
    DeviceInfo as DeviceInfo,
    DeviceState as DeviceState,
    DeviceStatus as DeviceStatus,
    OwnState as OwnState,
    Record as Record,
    Role as Role,
    Source as Source,
    Status as Status,
    StatusRequest as StatusRequest,
    Welcome as Welcome,
    Window as Window,
)
