"""Which close code of WebSocket stands for which goodbye (protocol.md, section 24.4)."""

from __future__ import annotations

from typing import Final

BYE: Final = 1000
"""The client has said bye, or nothing was said."""

CLOSE_CODES: Final = {
    "going_away": 1001,
    "bad_frame": 4000,
    "frame_too_large": 4001,
    "frame_timeout": 4002,
    "hello_required": 4003,
    "hello_timeout": 4004,
    "bad_hello": 4005,
    "bad_version": 4006,
    "bad_token": 4007,
    "token_expired": 4008,
    "token_revoked": 4009,
    "token_early": 4010,
    "device_limit": 4011,
    "replaced": 4012,
    "lease_expired": 4013,
    "busy": 4014,
    "kicked": 4015,
    "link_failed": 4016,
}
"""By the code of the goodbye. Those from 4000 on are for applications (RFC 6455, 7.4.2)."""
