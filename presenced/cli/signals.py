"""The signals of a daemon that runs. Imports nothing else, because they are blocked before anything is imported."""

from __future__ import annotations

import signal

FOR_THE_DAEMON = (signal.SIGHUP, signal.SIGUSR1)
"""Signals that must not end the daemon in its first tenths of a second; they wait until it has handlers for them."""
