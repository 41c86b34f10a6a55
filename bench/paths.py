"""Where the bench and the tree that it measures are."""

from __future__ import annotations

from pathlib import Path

BENCH = Path(__file__).parent
REPOSITORY = BENCH.parent
BUILD = BENCH / "build"
"""What is made once and kept for later runs."""
