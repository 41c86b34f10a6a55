"""What the tests of several directories need, each thing once."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
