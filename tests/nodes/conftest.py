"""Directories with short names: the path of a Unix socket has up to 107 bytes, of which pytest's own directories take
too many once they have three digits and a worker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="presenced-") as directory:
        yield Path(directory)
