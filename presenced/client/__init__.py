"""The Python client: state that knows no sockets and no loop (`session` and its parts `held`, `channels`, `followed`,
`everyone`; `pending`, `changes`, `heartbeat`, `backoff`, `values`, `windows`) under an asyncio shell (`link`, `keeper`,
`connection`, `stream`), and on top of it what all clients ask (`asking`), a user's client, a service's and the
synchronous one (`client`, `service`, `blocking`). Knows nothing of the server.
"""

from __future__ import annotations

from presenced.client.changes import Change
from presenced.client.channels import MemberChange
from presenced.client.client import Client
from presenced.client.connect import connect, connect_service
from presenced.client.followed import Event
from presenced.client.service import Service
from presenced.client.stream import ChannelWatch, Events, EveryoneWatch
from presenced.client.values import Answer, Attachment, MembersPage, Schedule, SyncStatus, Taken, WhoPage
from presenced.client.watch import Watch
from presenced.wire.messages import ActivityInfo, ClaimInfo, DeviceInfo, OwnState, Record

__all__ = ["Change", "Client", "Record", "Watch", "WhoPage", "connect"]
__all__ += ["Answer", "Attachment", "ChannelWatch", "Event", "Events", "EveryoneWatch", "MemberChange", "MembersPage"]
__all__ += ["Schedule", "Service", "SyncStatus", "Taken", "connect_service"]
__all__ += ["ActivityInfo", "ClaimInfo", "DeviceInfo", "OwnState"]
