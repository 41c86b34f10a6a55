"""Combinations of settings that reach no engine, of a cluster or a store, as a part of the table in `rules`. Pure.

`section` is that of the settings: `cluster` or `storage`.
"""

from __future__ import annotations

from collections.abc import Callable

from presenced.config.engine_url import parse_engine
from presenced.config.keys import BY_FIELD
from presenced.config.settings import Settings

Say = Callable[[str], str]
"""How the reader knows a field of `Settings`: by its key, and by where it was given."""


def users_have_passwords(settings: Settings, say: Say, section: str = "cluster") -> str:
    """A user of the engine's access list without a password."""
    url = getattr(settings, f"{section}_url")
    if not url or getattr(settings, f"{section}_password_file"):
        return ""
    user = parse_engine(url).user
    sentence = f"names the user {user!r}; give the password, too, in {section}.password_file"
    return f"{say(f'{section}_url')} {sentence}" if user else ""


def tls_is_meant(settings: Settings, say: Say, section: str = "cluster") -> str:
    """Files for TLS with a URL that has none."""
    files = (f"{section}_tls_ca", f"{section}_tls_cert", f"{section}_tls_key")
    given = [field for field in files if getattr(settings, field)]
    url = getattr(settings, f"{section}_url")
    if not given or not url or parse_engine(url).is_tls:
        return ""
    return f"{say(given[0])} is for TLS, and {say(f'{section}_url')} has none; begin the URL with rediss://"


def tls_is_a_pair(settings: Settings, say: Say, section: str = "cluster") -> str:
    """A certificate without its key, or the other way round."""
    there, missing = f"{section}_tls_cert", f"{section}_tls_key"
    if bool(getattr(settings, there)) == bool(getattr(settings, missing)):
        return ""
    if not getattr(settings, there):
        there, missing = missing, there
    return f"{say(there)} and {BY_FIELD[missing].name} go together; {BY_FIELD[missing].name} is missing"


def one_store(settings: Settings, say: Say) -> str:
    """The state in two places, of which one would be old."""
    if not settings.storage_url or not settings.data_dir:
        return ""
    return f"{say('storage_url')} and {say('data_dir')} both say where the state is kept; leave one of them out"


def store_of_one(settings: Settings, say: Say) -> str:
    """What the nodes of a cluster know is in its log and in their directories."""
    if not settings.storage_url or not (settings.cluster_url or settings.nodes > 1):
        return ""
    return (
        f"{say('storage_url')} keeps the state of a daemon that is alone, and this one is a node of a cluster; "
        "leave storage.url out"
    )
