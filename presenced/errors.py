"""The error codes of the protocol and the one exception tree of the package.

Two directions are kept apart: a peer's fault (`RequestError`, `ProtocolError`, which become error frames and
goodbyes at the edge) and our own bugs, which are plain Python exceptions and never reach the wire as more than
`link_failed`. Codes are stable: programs compare them, people read the sentence.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """What a code stands for: does it end the link, and is the same attempt worth repeating later?"""

    closes: bool
    temporary: bool
    meaning: str


CODES: dict[str, Code] = {
    # Answers to one request; the link and the requests beside it go on.
    "bad_request": Code(False, False, "a field is missing, of the wrong type or out of range"),
    "unknown_type": Code(False, False, "the message type does not exist or is not a client's to send"),
    "bad_name": Code(False, False, "a user or device name breaks the rules for names"),
    "bad_text": Code(False, False, "a text, emoji or label is too long or not printable"),
    "watch_limit": Code(False, False, "the link would watch more users than it may"),
    "await_limit": Code(False, False, "the link has as many awaits under way as it may"),
    "no_device": Code(False, False, "the request acts for a device, and this link has none"),
    "forbidden": Code(False, False, "this link may not do that for somebody else, or not at all"),
    "no_such_device": Code(False, False, "the user has no such device, or this link does not hold it"),
    "device_held": Code(False, True, "another client has the device by now"),
    "claim_past": Code(False, False, "the claim would have ended already"),
    "claim_limit": Code(False, False, "the user has as many claims as are allowed"),
    "bad_schedule": Code(False, False, "the time zone is unknown"),
    "bad_position": Code(False, False, "the position is ahead of the server, which cannot have given it"),
    "bad_time": Code(False, False, "the time given is too long ago or ahead"),
    "bad_channel": Code(False, False, "a channel name breaks the rules for names"),
    "channel_limit": Code(False, False, "as many channels as the device, its user or this link may have"),
    "bad_activity": Code(False, False, "the type or payload of an activity is missing, too long or not printable"),
    "bad_contact": Code(
        False, False, "a contact's name, note or groups are too long, too many, repeated or not printable"
    ),
    "contact_limit": Code(False, False, "the user has as many contacts as are allowed"),
    "block_limit": Code(False, False, "the user blocks, or hides from, as many users as are allowed"),
    "show_limit": Code(False, False, "the device is shown to as many users as are allowed"),
    "audience_limit": Code(False, False, "an audience names more users than are allowed"),
    "follower_limit": Code(False, False, "as many named followers as are allowed"),
    "read_only": Code(
        False,
        True,
        "nothing can be saved now: the server's disk is full, or its data directory is gone; presence goes on",
    ),
    "log_busy": Code(
        False, True, "the disk does not keep up, or the cluster's log cannot be reached: nothing more can be saved now"
    ),
    "memory_low": Code(
        False, True, "the server is short of memory: nothing that needs more of it can be done just now"
    ),
    "hello_repeated": Code(False, False, "this link has already said hello"),
    # Goodbyes: the server closes the link after them.
    "bad_frame": Code(True, False, "the bytes are not a frame of this protocol"),
    "frame_too_large": Code(True, False, "a frame is longer than the limit"),
    "frame_timeout": Code(True, True, "a frame was begun and not finished in time"),
    "hello_required": Code(True, False, "something else came before hello"),
    "hello_timeout": Code(True, True, "no hello came in time"),
    "bad_hello": Code(True, False, "the hello has a field that is missing, wrong or out of range"),
    "bad_version": Code(True, False, "no protocol version is spoken by both sides"),
    "bad_token": Code(True, False, "the token is missing, forged, malformed or for somebody else"),
    "token_expired": Code(True, False, "the token's time is over; get a new one"),
    "token_revoked": Code(True, False, "tokens of this user that were made earlier are refused; get a new one"),
    "token_early": Code(True, True, "the token is not valid yet by the server's clock: two clocks differ"),
    "device_limit": Code(True, True, "the user has as many live devices as are allowed"),
    "replaced": Code(True, False, "another link came for the same device"),
    "lease_expired": Code(True, True, "nothing was heard on the link for the announced time"),
    "busy": Code(True, True, "the server holds as many links as it may, or is short of memory"),
    "going_away": Code(True, True, "the server is stopping; come back after the given delay"),
    "kicked": Code(True, True, "an operator or a service ended this link; come back after the given delay"),
    "link_failed": Code(True, True, "the server failed while serving this link"),
}


class PresenceError(Exception):
    """The root of everything that this package raises on purpose.

    `code` is stable (protocol.md lists the codes that come from the server), `temporary` says whether the same
    attempt may succeed later, `retry_ms` how long to wait first (0 = no advice). A client that has lost its link comes
    back after what is temporary, and after those others that may heal where it was welcome before (see `connect`).
    """

    def __init__(self, code: str, message: str, *, temporary: bool | None = None, retry_ms: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        known = CODES.get(code)
        self.temporary = temporary if temporary is not None else known is not None and known.temporary
        self.retry_ms = retry_ms


class AddressError(PresenceError, ValueError):
    """A user name, device name, text or URL that breaks the rules; raised before anything is sent."""

    def __init__(self, message: str, code: str = "bad_name") -> None:
        super().__init__(code, message)


class RequestError(PresenceError):
    """One request was refused; nothing of it was applied and the link goes on."""


class ProtocolError(PresenceError):
    """The peer broke the framing, the order or a limit of the protocol; the link ends."""


class AuthError(PresenceError):
    """The server does not accept who this client says it is (`bad_token`, `token_expired`, `token_revoked`,
    `token_early`)."""


class ConnectionLost(PresenceError):
    """There is no link to the server: it could not be reached, or it ended the link (`code` says why)."""

    def __init__(self, code: str, message: str, *, temporary: bool = True, retry_ms: int = 0) -> None:
        super().__init__(code, message, temporary=temporary, retry_ms=retry_ms)


class RequestTimeout(PresenceError):
    """No reply came in time; whether the request was applied is unknown."""

    def __init__(self, message: str) -> None:
        super().__init__("timeout", message, temporary=True)
