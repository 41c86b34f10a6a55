"""The errors that a link gets when the node that decides cannot be asked, or does not answer."""

from __future__ import annotations

from typing import Final

NOT_ANSWERED: Final = (
    "the node that decides this has not answered in time: it may be applied all the same; send it again"
)
NOT_SENT: Final = "the node that decides this could not be asked in time: nothing of it was applied; send it again"
FULL: Final = "too much of this link waits for other nodes: nothing of this was applied; send it again"
GONE: Final = "the node that decided this is gone, and may have applied it before; send it again"
ENDED: Final = "the link has ended before this was handled: nothing of it was applied; send it again on the next link"
"""The sentences. With the first and the fourth, nobody knows whether the request was applied."""

RETRY_MS: Final = 1_000
"""After how long the client is to try again."""
