"""What all facts for the log are made of (`records`)."""

from __future__ import annotations

from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True)
class FactBase(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An array led by its type number. Fields are only added at the end."""
