"""Why a try came to nothing."""

from __future__ import annotations

from typing import Final

REASONS: Final = ("name", "private", "connect", "tls", "timeout", "reset", "protocol", "3xx", "4xx", "429", "5xx")
"""By which failures are counted: the name was not found, the address is not public, nobody listens, TLS failed, the
time was over, the connection was closed without an answer, the answer was no HTTP, or what the answer's status was."""


class DeliveryFault(Exception):
    """A try came to nothing, for one of REASONS."""

    def __init__(self, reason: str, sentence: str, pause_ms: int = 0) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.pause_ms = pause_ms
        """How long the receiver wants no request; 0 = it does not say."""
