"""What an operator may choose, where each choice comes from, and whether it can work.

`keys` is the table that everything is made of, `loader` reads the files, the environment and the options.
"""

from presenced.config.faults import SettingsError
from presenced.config.keys import KEYS, Key
from presenced.config.loader import Configuration, Difference, Loaded, difference, load
from presenced.config.settings import Settings
from presenced.config.sources import Origin

__all__ = [
    "Configuration",
    "KEYS",
    "Difference",
    "Key",
    "Loaded",
    "Origin",
    "Settings",
    "SettingsError",
    "difference",
    "load",
]
