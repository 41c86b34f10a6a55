"""What a setting is: its name, its kind, its meaning, and where it may be given."""

from __future__ import annotations

from typing import NamedTuple

from presenced.config.kinds import ValueKind
from presenced.config.times_by_kind import TimesByKind

ENV_PREFIX = "PRESENCED_"


class Key(NamedTuple):
    """One setting."""

    name: str
    """`section.key`, as in the file."""
    field: str
    """Of `Settings`."""
    kind: ValueKind
    doc: str
    flag: str = ""
    """The option of `presenced serve`; empty = none."""
    reloadable: bool = False
    """Whether a reload applies it; otherwise a change needs a restart."""
    secret: bool = False
    """The value must not be repeated in a log: somebody may have written the secret itself there."""
    metavar: str | None = None
    is_shared: bool = False
    """Whether all nodes of a cluster must have the same."""

    @property
    def is_table(self) -> bool:
        """Whether it is a table in the file: a key for each kind of device stands below it."""
        return isinstance(self.kind, TimesByKind)

    @property
    def section(self) -> str:
        return self.name.partition(".")[0]

    @property
    def last(self) -> str:
        """The name within its section."""
        return self.name.partition(".")[2]

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.name.upper().replace(".", "__")

    @property
    def parameter(self) -> str:
        """The option's name as an identifier: what `load` takes it by."""
        return self.flag.removeprefix("--").replace("-", "_")
