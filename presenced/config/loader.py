"""Merges the settings: files override defaults, the environment overrides files, and options override everything.

One call collects all faults, so that they can be shown together. Nothing is kept between calls: a reload makes the
same call again, and may make it on a thread. A call reads a few small files and takes a few milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from presenced.config import rules
from presenced.config.faults import SettingsError, printable
from presenced.config.keys import BY_FIELD, KEYS
from presenced.config.settings import Settings
from presenced.config.sources import DEFAULT, ConfigSources, Origin
from presenced.config.toml_text import FileFault, read_document

SYSTEM_DIRECTORY = "/etc/presenced"
FILE_NAME = "presenced.toml"
DROP_INS = "conf.d"
"""The directory beside `presenced.toml` with files that are read after it. Any other NAME.toml has NAME.d, so that
several servers with their files in one directory do not share drop-ins."""


class Loaded(NamedTuple):
    """Settings without a fault, and where each of them comes from."""

    settings: Settings
    origins: dict[str, Origin]
    """The origin of every key, by name. Tables have one for each kind of device: `presence.idle.KIND`."""
    path: str
    """The file that was read; empty = none."""
    files: tuple[str, ...]
    """That file and its drop-ins, in the order in which they were read."""
    notes: tuple[str, ...]
    """Sentences that the operator should know, although they are not faults."""


class ConfigSurvey(NamedTuple):
    """The settings, with or without faults."""

    loaded: Loaded
    """A setting with a fault has its default here."""
    values: tuple[str, ...]
    """Faults of files and single values."""
    combinations: tuple[str, ...]
    """Faults of values that are valid alone but not together."""

    @property
    def faults(self) -> tuple[str, ...]:
        return self.values + self.combinations


def load(flags: Mapping[str, object], environ: Mapping[str, str], path: str | None) -> Loaded:
    """The settings that result from options (by parameter name, None = not given), environment and files.

    `path` is the value of `--config`; None = search for the file. Raises `SettingsError` with all faults.
    """
    survey = take_survey(flags, environ, path)
    if survey.faults:
        raise SettingsError(*survey.faults)
    return survey.loaded


def take_survey(
    flags: Mapping[str, object], environ: Mapping[str, str], path: str | None, outside: bool = False
) -> ConfigSurvey:
    """Like `load`, but returns the faults together with the settings. `outside`: this process is not the service, so
    `credential:NAME` stays as it is written if this process got no credentials."""
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

    # A file that could not be read may set any key, so no combination can be judged.
    combinations = [] if unread else rules.broken_rules(settings, say, sources.at_fault)
    loaded = Loaded(settings, origins, main, tuple(files), tuple(sources.notes))
    return ConfigSurvey(loaded, tuple(sources.faults), tuple(combinations))


def _take(name: str, sources: ConfigSources) -> bool:
    """Take the file; returns whether it could be read."""
    try:
        sources.take_file(read_document(name))
    except FileFault as fault:
        sources.add_fault(str(fault))
        return False
    return True


def _merge(sources: ConfigSources) -> tuple[Settings, dict[str, Origin]]:
    values: dict[str, Any] = {}
    origins = {key.name: DEFAULT for key in KEYS if not key.is_table}
    tables: dict[str, dict[str, str]] = {}
    for name, key, value, origin in sources.given:
        # A later value replaces an earlier one: the sources come in ascending order of precedence.
        if key.is_table:
            tables.setdefault(key.field, {})[value.partition("=")[0]] = value
        else:
            values[key.field] = value
        origins[name] = origin
    values.update({field: tuple(sorted(table.values())) for field, table in tables.items()})
    return Settings(**values), origins


# --- files -------------------------------------------------------------------------------------------------------


def _find(
    flags: Mapping[str, object], environ: Mapping[str, str], path: str | None, sources: ConfigSources
) -> tuple[str, list[str]]:
    """The main file ("" = none) and all files to read. A directory may have only drop-ins."""
    path = path or environ.get("PRESENCED_CONFIG", "")
    if path:
        return path, [path, *_drop_ins(path, sources.faults)]
    for directory in environ.get("CONFIGURATION_DIRECTORY", "").split(":"):
        if directory and (files := _files_in(directory, sources.faults)):
            return files[0], files
    if flags.get("dev"):
        # Somebody tries presenced out. The configuration of this machine's service must not get in the way.
        return "", []
    files = _files_in(SYSTEM_DIRECTORY, sources.notes)
    unreadable = [name for name in files if not os.access(name, os.R_OK)]
    if unreadable:
        sources.notes.append(f"{', '.join(unreadable)}: not read, because permission is missing")
        files = [name for name in files if name not in unreadable]
    return (files[0] if files else ""), files


def _files_in(directory: str, complaints: list[str]) -> list[str]:
    main = os.path.join(directory, FILE_NAME)
    return ([main] if os.path.lexists(main) else []) + _drop_ins(main, complaints)


def drop_in_directory(path: str) -> str:
    """The directory of a configuration file's drop-ins: `conf.d` beside presenced.toml, `NAME.d` beside NAME.toml."""
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
    """What the daemon was started with, so that it can read its settings again."""

    def __init__(self, flags: Mapping[str, object], environ: Mapping[str, str], path: str | None) -> None:
        self._flags, self._environ, self._wanted = dict(flags), dict(environ), path
        self.path = ""
        """The file that the last load without a fault read; empty = none, or nothing was loaded yet."""
        self.files: tuple[str, ...] = ()
        """That file and its drop-ins."""
        self._looked: tuple[object, ConfigSurvey] | None = None
        """The result of the last `look`, and the state of the files at that time."""

    def survey(self) -> ConfigSurvey:
        """Read the settings now; returns them with all faults. May be called on any thread."""
        survey = take_survey(self._flags, self._environ, self._wanted)
        if not survey.faults:
            self.path, self.files = survey.loaded.path, survey.loaded.files
        return survey

    def look(self) -> ConfigSurvey:
        """The settings that a start would have now. The files are read only if one of them was changed, added or
        removed since the last look."""
        _, files = _find(self._flags, self._environ, self._wanted, ConfigSources(self._environ))
        state = tuple((path, *_state_of(path)) for path in files)
        if self._looked is None or self._looked[0] != state:
            self._looked = (state, take_survey(self._flags, self._environ, self._wanted))
        return self._looked[1]

    def load(self) -> Loaded:
        """Read the settings now. Raises `SettingsError` with all faults. May be called on any thread."""
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
    """The keys whose values differ, in the order of the table, split into those that a reload applies and those that
    need a restart."""
    found = Difference([], [])
    held = set()
    if bool(old.tls_cert) != bool(new.tls_cert):
        # An open listener cannot change between TLS and plain TCP.
        held |= {"tls_cert", "tls_key"}
    if old.dev or new.dev:
        held.add("secret_file")
    for key in KEYS:
        before, after = getattr(old, key.field), getattr(new, key.field)
        if before != after:
            change = (key.name, key.kind.text(before) or '""', key.kind.text(after) or '""')
            (found.applied if key.reloadable and key.field not in held else found.needs_restart).append(change)
    return found
