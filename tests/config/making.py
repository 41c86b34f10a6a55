"""Configuration files for tests, spelled independently of the code that prints them."""

from __future__ import annotations

from pathlib import Path

from presenced.config import Loaded, SettingsError, load


def spelled(value: object) -> str:
    """A TOML value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return (
            '"'
            + "".join(f"\\U{ord(c):08X}" if c in '"\\' or not c.isprintable() or c == "\x7f" else c for c in value)
            + '"'
        )
    if isinstance(value, dict):
        return "{" + ", ".join(f"{spelled(key)} = {spelled(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(spelled(inner) for inner in value) + "]"
    return repr(value)


def written(path: Path, text: str) -> str:
    """The file with this text; its directory is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def loaded(text: str, directory: Path, environ: dict[str, str] | None = None, **flags: object) -> Loaded:
    """What this text, variables and options give."""
    return load(flags, environ or {}, written(directory / "presenced.toml", text))


def faults(text: str, directory: Path, environ: dict[str, str] | None = None, **flags: object) -> list[str]:
    """The faults of it, with the file called FILE."""
    try:
        loaded(text, directory, environ, **flags)
    except SettingsError as error:
        assert all("\n" not in fault for fault in error.faults)
        assert str(error) == "\n".join(error.faults)
        return [fault.replace(str(directory / "presenced.toml"), "FILE") for fault in error.faults]
    return []
