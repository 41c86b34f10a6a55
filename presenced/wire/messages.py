"""The vocabulary of the protocol: the messages of both sides, and what they are made of, under one name.

A message is one msgpack array `[type, field, ...]` (protocol.md, section 3). Types 1 to 63 and 128 to 191 are the
client's, types 64 to 127 and 192 to 255 are the server's, so that neither side can speak for the other. Fields are only
ever added at the end: a reader ignores elements that it does not know, and takes the default for those that are
missing. There are no maps, floats or extension types.

A module that uses a message imports it from here, and need not know which of the files below describes it. Bytes
are made of messages in `wire.codec`.
"""

from __future__ import annotations

from presenced.wire.awaits import *  # noqa: F403  # a list of the names would say each message once more
from presenced.wire.channel_requests import *  # noqa: F403
from presenced.wire.contact_replies import *  # noqa: F403
from presenced.wire.contact_requests import *  # noqa: F403
from presenced.wire.event_replies import *  # noqa: F403
from presenced.wire.event_requests import *  # noqa: F403
from presenced.wire.explanations import *  # noqa: F403
from presenced.wire.moderation_requests import *  # noqa: F403
from presenced.wire.privacy_requests import *  # noqa: F403
from presenced.wire.replies import *  # noqa: F403
from presenced.wire.requests import *  # noqa: F403
from presenced.wire.routes import *  # noqa: F403
from presenced.wire.types import *  # noqa: F403
from presenced.wire.view_replies import *  # noqa: F403
from presenced.wire.view_requests import *  # noqa: F403
