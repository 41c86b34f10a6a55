"""Reads settings from files, environment and options: each value with its origin, and a fault for each bad value.

The three sources add to the same list of `Given` values. `loader` decides which of them wins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

from presenced.config.faults import Fault, concealed, did_you_mean, printable, quoted, shown
from presenced.config.files import may_be_a_secret
from presenced.config.key import ENV_PREFIX, Key
from presenced.config.keys import BY_ENV, BY_NAME, KEYS, SECTIONS
from presenced.config.kinds import CREDENTIAL, Choices, Int, Path
from presenced.config.times_by_kind import TimesByKind
from presenced.config.toml_text import Document

AUTO = "auto"
"""The value that stands for the directory or the socket that the systemd unit provides."""


class Origin(NamedTuple):
    """Where a value comes from. `place` is a file, a variable or an option; `line` is a line of the file, from 1."""

    source: Literal["default", "file", "environment", "option"]
    place: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = printable(self.place) if self.place else self.source
        return f"{place}:{self.line}" if self.source == "file" else place


DEFAULT = Origin("default")


class Given(NamedTuple):
    """One value from one source. `name` is the name of the key; for a table it ends with the kind of device."""

    name: str
    key: Key
    value: Any
    origin: Origin


class ConfigSources:
    """The values and the faults of one or more sources."""

    def __init__(self, environ: Mapping[str, str], outside: bool = False) -> None:
        """`outside`: this process cannot see the unit's credentials, and that does not count as a fault."""
        self.given: list[Given] = []
        self.faults: list[str] = []
        self.at_fault: set[str] = set()
        """Fields of `Settings` with a fault. Their values are unknown."""
        self.notes: list[str] = []
        """Sentences that the operator should know, although they are not faults."""
        self._environ = environ
        self._outside = outside

    def add_fault(self, sentence: str) -> None:
        """Add a fault that does not belong to a single key."""
        self.faults.append(sentence)

    # --- the sources ------------------------------------------------------------------------------------------

    def take_file(self, document: Document) -> None:
        """Take every key of a file."""
        for section, table in document.values.items():
            origin = Origin("file", document.path, document.line(section))
            if section not in SECTIONS:
                self._reject(origin, *_unknown_section(section))
            elif not isinstance(table, dict):
                self.faults.append(
                    f"{origin}: {section} is a section; write [{section}] and below it {_last_parts(section)}"
                )
            else:
                self._take_section(document, section, table)

    def _take_section(self, document: Document, section: str, table: dict[str, Any]) -> None:
        for last, value in table.items():
            name = f"{section}.{last}"
            origin = Origin("file", document.path, document.line(section, last))
            key = BY_NAME.get(name)
            if key is None:
                self._reject(origin, *_unknown_key(section, last))
            elif not key.is_table:
                self._take(key, name, value, origin, lambda key=key, value=value: key.kind.read(value))
            elif not isinstance(value, dict):
                self._refuse(key, name, value, origin, Fault("is not a table"))
            else:
                for kind, times in value.items():
                    origin = Origin("file", document.path, document.line(section, last, kind))
                    self._take_times(key, kind, times, origin)

    def take_environment(self) -> None:
        """Take every variable PRESENCED_SECTION__KEY, in the order of their names."""
        for variable in sorted(self._environ):
            if not variable.startswith(ENV_PREFIX):
                continue
            text, origin = self._environ[variable], Origin("environment", variable)
            key = BY_ENV.get(variable)
            if key is None:
                self._judge_variable(variable)
            elif key.is_table:
                for part in filter(str.strip, text.split(";")):
                    kind, _, times = part.partition("=")
                    self._take_times(key, kind, times, origin)
            else:
                self._take(key, key.name, text, origin, lambda key=key, text=text: key.kind.read_text(text))

    def _judge_variable(self, variable: str) -> None:
        if "__" in variable.removeprefix(ENV_PREFIX):
            section, _, last = variable.removeprefix(ENV_PREFIX).lower().partition("__")
            section = did_you_mean(section, SECTIONS)
            near = _near_key(section, last.replace("__", "_")) or _near_key(section, last.partition("__")[0])
            advice = f"did you mean {near.env}?" if near else "`presenced config default` lists the known ones"
            self._reject(Origin("environment", variable), f"names no setting; {advice}", [near] if near else [])
            return
        for known in BY_ENV:
            if known.replace("__", "_") == variable:
                self.notes.append(f"{variable} is not read; did you mean {known}?")

    def take_options(self, options: Mapping[str, object]) -> None:
        """Take the options of `presenced serve`, by parameter name. None, False and () mean that one was not given."""
        for key in KEYS:
            value = options.get(key.parameter) if key.flag else None
            if value is None or value is False or value == ():
                continue
            origin = Origin("option", key.flag)
            if key.is_table:
                for text in value if isinstance(value, tuple) else (str(value),):
                    kind, _, times = str(text).partition("=")
                    self._take_times(key, kind, times, origin)
            else:
                self._take(key, key.name, value, origin, partial(_of_option, key, value))

    # --- one value --------------------------------------------------------------------------------------------

    def _take(self, key: Key, name: str, raw: object, origin: Origin, read: Any) -> None:
        try:
            value = read()
            if isinstance(key.kind, Path) and value.startswith(CREDENTIAL):
                value = credential_path(value.removeprefix(CREDENTIAL), self._environ)
                key.kind.check(value)
            if key.field == "data_dir" and value == AUTO:
                value = state_directory(self._environ)
            if key.secret and isinstance(key.kind, Path) and may_be_a_secret(value):
                # Refuse it here: later code writes the path to the log.
                raise Fault("is not the path of a file that exists here")
        except NotInUnit as fault:
            if not self._outside:
                self._fail(key, f"{origin}: {name}: {fault}")
                return
            if value != AUTO:
                self.notes.append(
                    f"{origin}: {name}: {value} is not looked at; only a unit with LoadCredential= has it"
                )
            self.given.append(Given(name, key, value, origin))
        except CredentialFault as fault:
            self._fail(key, f"{origin}: {name}: {fault}")
        except Fault as fault:
            self._refuse(key, name, raw, origin, fault)
        else:
            self.given.append(Given(name, key, value, origin))

    def _take_times(self, key: Key, kind: str, times: object, origin: Origin) -> None:
        assert isinstance(key.kind, TimesByKind)
        try:
            if not isinstance(times, str):
                raise Fault("is not text in quotes")
            entry = key.kind.entry(kind, times)
        except Fault as fault:
            self._refuse(key, f"{key.name}.{toml_key(kind.strip())}", times, origin, fault)
        else:
            self.given.append(Given(f"{key.name}.{entry.partition('=')[0]}", key, entry, origin))

    def _refuse(self, key: Key, name: str, raw: object, origin: Origin, fault: Fault) -> None:
        if key.secret:
            what = f"the value of {name}"
        elif origin.source == "option" and not key.is_table:
            what = f"{name} = {_option_text(key, raw)}"
        else:
            what = f"{name} = {shown(raw)}"
        self._fail(key, f"{origin}: {concealed(what)} {fault.and_advice(key.kind.allowed)}")

    def _reject(self, origin: Origin, sentence: str, meant: list[Key]) -> None:
        """Add the fault of a name that does not exist. The values of the keys in `meant` are then unknown."""
        self.at_fault.update(key.field for key in meant)
        self.faults.append(f"{origin}: {sentence}")

    def _fail(self, key: Key, fault: str) -> None:
        self.at_fault.add(key.field)
        self.faults.append(fault)


class CredentialFault(Fault):
    """A credential does not exist. The text is a whole sentence."""


class NotInUnit(CredentialFault):
    """This process did not get what only a systemd unit passes."""


def state_directory(environ: Mapping[str, str]) -> str:
    """The directory that systemd made for the state. Raises `NotInUnit`."""
    directory = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if not directory:
        raise NotInUnit('"auto" is for a unit with StateDirectory=, and STATE_DIRECTORY is not set; give a path')
    return directory


def credential_path(name: str, environ: Mapping[str, str]) -> str:
    """The file that systemd put the credential into. Raises `CredentialFault`."""
    if not name or "/" in name or name in (".", ".."):
        raise CredentialFault(f"credential:{printable(name)} is not the name of a credential; give credential:NAME")
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    if not directory:
        raise NotInUnit(
            f"credential:{printable(name)} is for a unit with LoadCredential={printable(name)}:FILE, and "
            "CREDENTIALS_DIRECTORY is not set; elsewhere give the path of a file"
        )
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        raise CredentialFault(
            f"{printable(path)} does not exist; is LoadCredential={printable(name)}:FILE in the unit?"
        )
    return path


def _of_option(key: Key, value: object) -> object:
    """The value of an option as `Settings` holds it. A word may have been given instead of a number, such as "auto",
    and a list is given as text."""
    if isinstance(key.kind, (Int, Choices)) and isinstance(value, str):
        return key.kind.read_text(value)
    key.kind.check(value)
    return value


def _option_text(key: Key, value: object) -> str:
    """An option's value as a file would spell it."""
    try:
        return shown(value) if isinstance(value, str) or isinstance(key.kind, Int) else shown(key.kind.text(value))
    except (TypeError, ValueError, AttributeError):
        return shown(value)


def _unknown_section(section: str) -> tuple[str, list[Key]]:
    """A sentence, and the keys that may have been meant. The content is not repeated, because it may be a secret."""
    shown_section = printable(section)
    near = did_you_mean(section, SECTIONS)
    if near:
        meant = [key for key in KEYS if key.section == near]
        return f"there is no section {shown_section}; did you mean {near}?", meant
    meant = [key for key in KEYS if key.last == section]
    if meant:
        names = " or ".join(key.name for key in meant)
        return f"{shown_section} is outside of a section; did you mean {names}?", meant
    return f"there is no section {shown_section}; the sections are {', '.join(SECTIONS)}", []


def _unknown_key(section: str, last: str) -> tuple[str, list[Key]]:
    """A sentence, and the key that may have been meant."""
    name = f"{section}.{printable(last)}"
    near = _near_key(section, last)
    if near:
        return f"there is no key {name}; did you mean {near.name}?", [near]
    return f"there is no key {name}; {section} has {_last_parts(section)}", []


def _near_key(section: str, last: str) -> Key | None:
    """The key whose name is nearest to `last`: one of this section, or else one of another section."""
    for keys in ([key for key in KEYS if key.section == section], KEYS):
        near = did_you_mean(last, [key.last for key in keys])
        if near:
            return next(key for key in keys if key.last == near)
    return None


def _last_parts(section: str) -> str:
    return ", ".join(key.last for key in KEYS if key.section == section)


def toml_key(word: str) -> str:
    """One part of a key, spelled as TOML requires."""
    bare = word and all(character.isascii() and (character.isalnum() or character in "_-") for character in word)
    return word if bare else quoted(word)
