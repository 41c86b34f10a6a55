"""The frames of a client's links in the log (`presenced.client.frames`, level debug).

A line says what a message is and what it is about. It shows no token, no resume token and none of the `meta` that an
application keeps with a device, and of what people write only the first characters.
"""

from __future__ import annotations

import logging
from typing import Final, Literal

import msgspec

from presenced.client.log_fields import fields
from presenced.wire.messages import Message

log: Final = logging.getLogger("presenced.client.frames")

SECRETS: Final = frozenset({"token", "resume", "meta"})
"""Fields that are not shown: whoever reads them could act for somebody, or push to their phone."""

TEXTS: Final = frozenset({"text", "note", "payload"})
"""Fields that people write, or an application on their behalf."""

TEXT_CHARS: Final = 8
CHARS: Final = 80
ITEMS: Final = 4

_Direction = Literal["sent", "received"]
_ARROWS: Final[dict[_Direction, str]] = {"sent": "->", "received": "<-"}


def tell(peer: str, direction: _Direction, message: Message, size_bytes: int) -> None:
    """One message that was sent to `peer`, or received. Ask `log.isEnabledFor(DEBUG)` before."""
    kind = type(message).__name__
    extra = fields("frame", server=peer, direction=direction, message=kind, bytes=size_bytes)
    log.debug("%s %s %s, %d bytes", peer, _ARROWS[direction], shown(message), size_bytes, extra=extra)


def shown(value: object, field: str = "") -> str:
    """A message, or a value in one, in a line; fields that are empty or 0 are left out."""
    if field in SECRETS and value:
        return "..."
    if isinstance(value, msgspec.Struct):
        pairs = [(name, getattr(value, name)) for name in value.__struct_fields__]
        return f"{type(value).__name__}({', '.join(f'{name}={shown(one, name)}' for name, one in pairs if one)})"
    if isinstance(value, str):
        chars = TEXT_CHARS if field in TEXTS else CHARS
        return repr(value) if len(value) <= chars else repr(value[:chars]) + "..."
    if isinstance(value, list | tuple):
        more = f", and {len(value) - ITEMS} more" if len(value) > ITEMS else ""
        return f"[{', '.join(shown(one, field) for one in value[:ITEMS])}{more}]"
    return repr(value)
