"""The settings as options of a command: one option for each key of the table that has a flag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from presenced.cli.options import DurationParameter, NumberOrWord, Once
from presenced.config import KEYS, Key, Settings
from presenced.config.kinds import Bool, Choice, Duration as DurationKind, Int
from presenced.config.times_by_kind import TimesByKind

DEFAULTS = Settings()


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command all options of settings. An option that is not given is None, False or (), and overrides
    nothing."""
    for key in reversed(KEYS):
        if key.flag:
            form = {"cls": Once, **_form(key)} if not isinstance(key.kind, (Bool, TimesByKind)) else _form(key)
            command = click.option(key.flag, help=_help(key), metavar=key.metavar, **form)(command)
    return command


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--config FILE`, as `config`."""
    return click.option(
        "--config",
        metavar="FILE",
        help="The file with the settings; `presenced config default` prints one. Default: $PRESENCED_CONFIG, "
        "presenced.toml in "
        "$CONFIGURATION_DIRECTORY, or /etc/presenced/presenced.toml (the last not with --dev), if there is one.",
    )(command)


def _form(key: Key) -> dict[str, Any]:
    match key.kind:
        case Bool():
            return {"is_flag": True, "default": False}
        case DurationKind():
            return {"type": DurationParameter()}
        case Choice():
            return {"type": click.Choice(key.kind.words)}
        case Int(otherwise=word) if word:
            return {"type": NumberOrWord(word)}
        case Int():
            # Text that is no number is wrong usage; a number out of bounds is a fault of the settings.
            return {"type": click.IntRange(min=0) if key.kind.least == 0 else click.INT}
        case TimesByKind():
            return {"multiple": True}
    return {}


def _help(key: Key) -> str:
    default = key.kind.text(getattr(DEFAULTS, key.field))
    if isinstance(key.kind, TimesByKind):
        return f"{key.doc} For example mobile={key.kind.example}; may be repeated."
    return key.doc + (f" [default: {default}]" if default and not isinstance(key.kind, Bool) else "")
