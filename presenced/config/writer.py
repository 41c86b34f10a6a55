"""Settings as text: the commented file to start from, and what is in force. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from presenced.config.keys import KEYS, SECTIONS, Key
from presenced.config.settings import Settings
from presenced.config.sources import DEFAULT, Origin, toml_key
from presenced.config.times_by_kind import TimesByKind

WIDTH = 100

_HEAD = """\
The settings of the presenced daemon. Every key is listed here with its default, commented out.

The daemon looks for --config FILE, $PRESENCED_CONFIG, presenced.toml in $CONFIGURATION_DIRECTORY, and
/etc/presenced/presenced.toml, and takes the first. Read after it, in order of name, are the files conf.d/*.toml
beside presenced.toml; beside a file of another name, NAME.toml, they are NAME.d/*.toml. The environment weighs more
than any file, and the options of `presenced serve` more than the environment.

`presenced config check` says whether the daemon would start. `presenced config show --origin` prints what is in
force and where it comes from. `systemctl reload presenced` (SIGHUP) applies what is marked "reload".

Durations are written like "30s", "1h30m" or "200ms", sizes like "64MiB"; 0 needs no unit. The path of a file that is
only read may be "credential:NAME": the file NAME in $CREDENTIALS_DIRECTORY (LoadCredential= of systemd)."""


def default_text() -> str:
    """The commented file: each key with its default, its meaning, its bounds, its variable and its option."""
    lines = _comment(_HEAD)
    for section, about in SECTIONS.items():
        lines += ["", f"[{section}]"]
        if about:
            lines += _comment(about)
        # A table below the section has to come after the section's own keys.
        for key in sorted(_keys_of(section), key=lambda key: key.is_table):
            lines += ["", *_described(key)]
    return "\n".join(lines) + "\n"


def settings_text(settings: Settings, origins: Mapping[str, Origin] | None = None) -> str:
    """The text of a file with these settings. With `origins`, a comment beside each key says where it comes from."""

    def commented(line: str, name: str) -> str:
        return line if origins is None else f"{line}  # {_one_line(str(origins.get(name, DEFAULT)))}"

    lines: list[str] = []
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        for key in _keys_of(section):
            if not key.is_table:
                lines.append(commented(f"{key.last} = {key.kind.toml(getattr(settings, key.field))}", key.name))
        for key in _keys_of(section):
            if key.is_table and (entries := getattr(settings, key.field)):
                lines += ["", f"[{key.name}]"]
                for text in entries:
                    kind, _, times = text.partition("=")
                    lines.append(commented(f'{toml_key(kind)} = "{times}"', f"{key.name}.{kind}"))
    return "\n".join(lines[1:]) + "\n"


def _keys_of(section: str) -> list[Key]:
    return [key for key in KEYS if key.section == section]


def _described(key: Key) -> list[str]:
    lines = _comment(key.doc)
    lines += _comment(f"Allowed: {key.kind.allowed}.")
    flag = f", option {key.flag}" if key.flag else ""
    shared = " All nodes of a cluster need the same." if key.is_shared else ""
    change = "reload" if key.reloadable else "restart"
    lines += _comment(f"Variable {key.env}{flag}. A change needs a {change}.{shared}")
    if isinstance(key.kind, TimesByKind):
        lines += _comment(f"A key for each kind; the variable holds KIND={key.kind.form}, several with ; between.")
        return [f"[{key.name}]", *lines, f'# mobile = "{key.kind.example}"']
    return [*lines, f"#{key.last} = {key.kind.toml(getattr(Settings(), key.field))}"]


def _comment(text: str) -> list[str]:
    """The text wrapped, with "# " before each line. A line with "#" and a letter is a key that can be uncommented."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += ["#"] if lines else []
        flowing = " ".join(paragraph.split())
        lines += textwrap.wrap(flowing, WIDTH - 2, break_on_hyphens=False, break_long_words=False)
    return [line if line == "#" else f"# {line}" for line in lines]


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
