"""Puts the settings together: defaults, under files, under the environment, under options.

Everything is found out in one go, so that all faults are told at once. Nothing is kept between calls: a reload is
the same call again, and may be made in a thread. It reads a few small files and takes a few milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from presenced.config import rules
from presenced.config.faults import SettingsError, printable
from presenced.config.keys import BY_FIELD, IDLE, KEYS
from presenced.config.settings import Settings
from presenced.config.sources import DEFAULT, ConfigSources, Origin
from presenced.config.toml_text import FileFault, read_document

SYSTEM_DIRECTORY = "/etc/presenced"
FILE_NAME = "presenced.toml"
DROP_INS = "conf.d"
"""The directory beside `presenced.toml` with files that are read after it. Any other NAME.toml has NAME.d, so that
several servers with their files in one directory do not share them."""


class Loaded(NamedTuple):
    """Settings that can work, and how they came to be."""

    settings: Settings
    origins: dict[str, Origin]
    """Of every key, by name; for idle times one for each kind of device: `presence.idle.KIND`."""
    path: str
    """The file that was read; empty = none."""
    files: tuple[str, ...]
    """That file and its drop-ins, in the order in which they were read."""
    notes: tuple[str, ...]
    """What is no fault, and the operator should know: one sentence each."""


class ConfigSurvey(NamedTuple):
    """What was found, sound or not."""

    loaded: Loaded
    """With the defaults for what is at fault."""
    values: tuple[str, ...]
    """Faults of files and single values."""
    combinations: tuple[str, ...]
    """Faults of values that are sound one by one."""

    @property
    def faults(self) -> tuple[str, ...]:
        return self.values + self.combinations


def load(flags: Mapping[str, object], environ: Mapping[str, str], path: str | None) -> Loaded:
    """The settings that options (by parameter name, None = not given), environment and files result in.

    `path` is what `--config` says; without it the file is looked for. Raises `SettingsError` with all faults.
    """
    survey = take_survey(flags, environ, path)
    if survey.faults:
        raise SettingsError(*survey.faults)
    return survey.loaded


def take_survey(
    flags: Mapping[str, object], environ: Mapping[str, str], path: str | None, outside: bool = False
) -> ConfigSurvey:
    """As `load`, but faults are returned beside what could be read. `outside`: this process is not the service, and
    `credential:NAME` stays as it is written if no credentials were passed to it."""
    sources = ConfigSources(environ, outside)
    main, files = _find(flags, environ, path, sources)
    unread = bool(sources.faults)
    for name in files:
        unread = not _take(name, sources) or unread
    sources.take_environment()
    sources.take_options(flags)
    settings, origins = _merge(sources)

    def say(field: str) -> str:
        key = BY_FIELD[field]
        origin = origins.get(key.name, DEFAULT)
        return origin.place if origin.source == "option" else f"{key.name} ({origin})"

    # A file that could not be read may have held anything.
    combinations = [] if unread else rules.broken_rules(settings, say, sources.at_fault)
    loaded = Loaded(settings, origins, main, tuple(files), tuple(sources.notes))
    return ConfigSurvey(loaded, tuple(sources.faults), tuple(combinations))


def _take(name: str, sources: ConfigSources) -> bool:
    """Whether the file could be read."""
    try:
        sources.take_file(read_document(name))
    except FileFault as fault:
        sources.add_fault(str(fault))
        return False
    return True


def _merge(sources: ConfigSources) -> tuple[Settings, dict[str, Origin]]:
    values: dict[str, Any] = {}
    origins = {key.name: DEFAULT for key in KEYS if key.name != IDLE}
    idle: dict[str, str] = {}
    for name, key, value, origin in sources.given:
        # A later one takes the earlier one's place; sources come in the order of their weight.
        if key.name == IDLE:
            idle[value.partition("=")[0]] = value
        else:
            values[key.field] = value
        origins[name] = origin
    return Settings(**values, idle=tuple(sorted(idle.values()))), origins


# --- files -------------------------------------------------------------------------------------------------------


def _find(
    flags: Mapping[str, object], environ: Mapping[str, str], path: str | None, sources: ConfigSources
) -> tuple[str, list[str]]:
    """The main file ("" = none) and all that are to be read; a directory may have drop-ins alone."""
    path = path or environ.get("PRESENCED_CONFIG", "")
    if path:
        return path, [path, *_drop_ins(path, sources.faults)]
    for directory in environ.get("CONFIGURATION_DIRECTORY", "").split(":"):
        if directory and (files := _files_in(directory, sources.faults)):
            return files[0], files
    if flags.get("dev"):
        # Somebody tries it out; what the service of this machine is configured for must not get in the way.
        return "", []
    files = _files_in(SYSTEM_DIRECTORY, sources.notes)
    unreadable = [name for name in files if not os.access(name, os.R_OK)]
    if unreadable:
        sources.notes.append(f"{', '.join(unreadable)}: not read, for want of permission")
        files = [name for name in files if name not in unreadable]
    return (files[0] if files else ""), files


def _files_in(directory: str, complaints: list[str]) -> list[str]:
    main = os.path.join(directory, FILE_NAME)
    return ([main] if os.path.lexists(main) else []) + _drop_ins(main, complaints)


def drop_in_directory(path: str) -> str:
    """Where the drop-ins of a configuration file are: `conf.d` beside presenced.toml, `NAME.d` beside NAME.toml."""
    directory, name = os.path.split(path)
    return os.path.join(directory, DROP_INS if name == FILE_NAME else os.path.splitext(name)[0] + ".d")


def _drop_ins(main: str, complaints: list[str]) -> list[str]:
    place = drop_in_directory(main)
    try:
        names = os.listdir(place)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return []
    except OSError as error:
        complaints.append(f"{printable(place)}: cannot be read: {error.strerror}")
        return []
    return [os.path.join(place, name) for name in sorted(names) if name.endswith(".toml") and name[0] != "."]


# --- reloading ---------------------------------------------------------------------------------------------------


class Configuration:
    """What a daemon was started with: enough to read its settings again."""

    def __init__(self, flags: Mapping[str, object], environ: Mapping[str, str], path: str | None) -> None:
        self._flags, self._environ, self._wanted = dict(flags), dict(environ), path
        self.path = ""
        """The file that the last sound load read; empty = none, or not loaded so far."""
        self.files: tuple[str, ...] = ()
        """That file and its drop-ins."""
        self._looked: tuple[object, ConfigSurvey] | None = None
        """The last `look`, and what the files were like then."""

    def survey(self) -> ConfigSurvey:
        """The settings as they are now, with all faults beside them. May be called in any thread."""
        survey = take_survey(self._flags, self._environ, self._wanted)
        if not survey.faults:
            self.path, self.files = survey.loaded.path, survey.loaded.files
        return survey

    def look(self) -> ConfigSurvey:
        """The settings that a start would have now. The files are read only if one of them is another than at the last
        look, or one has come or gone."""
        _, files = _find(self._flags, self._environ, self._wanted, ConfigSources(self._environ))
        state = tuple((path, *_state_of(path)) for path in files)
        if self._looked is None or self._looked[0] != state:
            self._looked = (state, take_survey(self._flags, self._environ, self._wanted))
        return self._looked[1]

    def load(self) -> Loaded:
        """The settings as they are now; raises `SettingsError` with all faults. May be called in any thread."""
        survey = self.survey()
        if survey.faults:
            raise SettingsError(*survey.faults)
        return survey.loaded


def _state_of(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


class Difference(NamedTuple):
    """What a reload changes: key, old value and new value, all as text."""

    applied: list[tuple[str, str, str]]
    needs_restart: list[tuple[str, str, str]]


def difference(old: Settings, new: Settings) -> Difference:
    """The keys whose values differ, in the order of the table, split by what it takes for them to hold."""
    found = Difference([], [])
    held = set()
    if bool(old.tls_cert) != bool(new.tls_cert):
        # The listener speaks TLS or it does not.
        held |= {"tls_cert", "tls_key"}
    if old.dev or new.dev:
        held.add("secret_file")
    for key in KEYS:
        before, after = getattr(old, key.field), getattr(new, key.field)
        if before != after:
            change = (key.name, key.kind.text(before) or '""', key.kind.text(after) or '""')
            (found.applied if key.reloadable and key.field not in held else found.needs_restart).append(change)
    return found
