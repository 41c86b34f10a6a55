"""What the repository owes to the rules: breaches that were there before the rule, by rule, file and subject.

Take off what you have mended; the test says what is no longer owed. Where a file is renamed its line is, too.
"""

from __future__ import annotations

OWED: dict[str, dict[str, str]] = {
    "circles": {
        "presenced/core/parts/channel_news.py": "file",
        "presenced/core/parts/channels.py": "file",
    },
    "size": {
        "presenced/core/engine.py": "file",
        "presenced/core/parts/channels.py": "file",
    },
    "owners": {
        "presenced/core/engine.py": (
            "device devices heard_ms is_taken_out kind name priority refs session silent status"
        ),
        "presenced/core/parts/leases.py": "kinds_met",
        "presenced/core/replies.py": "acks unanswered",
        "presenced/core/restore.py": (
            "active_ms assumed_ms channels claim claims device devices emoji grace_until_ms heard_ms holder "
            "idle_known idle_level is_taken_out kind name notes_returns primary priority record schedule "
            "seen_ms shown since_ms state status text text_by_wall text_due_ms text_until_ms"
        ),
        "presenced/core/statements.py": "heard_ms name priority status",
        "presenced/ops/reload.py": "failed_reloads reload_failed_ms reload_faults reloaded_wall_ms reloads",
        "presenced/server/conversation.py": "frame_bytes_max",
        "presenced/server/data_directory.py": "remarks",
        "presenced/server/greeting.py": "expires_ms",
        "presenced/server/turn.py": "acks closing read_only unanswered",
    },
    "owners_are_needed": {
        "tests/tidy/state.py": "expires_ms kind name priority status",
    },
    "files_are_nouns": {
        "presenced/core/parts/leaving.py": "file",
        "presenced/core/parts/watching.py": "file",
        "presenced/core/restore.py": "file",
        "presenced/core/standing.py": "file",
    },
}
