"""How a figure is shown: its unit is in its name, and its name without the unit is what it is called.

`server_cpu_us_per_delivery` is "server CPU per delivery" and is shown as `3.50 us`; `rss_bytes_per_device` is "RSS per
device", `3.0 KiB`; `deliveries_per_s` is "deliveries per second".
"""

from __future__ import annotations

from bench.results.outcome import LIMIT, OURS

TIMES_US = {"ns": 0.001, "us": 1.0, "ms": 1_000.0, "s": 1_000_000.0}
BYTES = {"bytes": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}

SHOWN_NAMES = {
    LIMIT: "C loop",
    OURS: "presenced",
    "redis": "Redis",
    "nats": "NATS",
    "mosquitto": "Mosquitto",
    "ejabberd": "ejabberd",
    "prosody": "Prosody",
    "sqlite": "SQLite",
}
_CONDITIONS = frozenset(
    "core_taken_by_others os_core_taken_by_others server_core_busy os_server_core_busy "
    "generator_busy generator_lag_p99_us generator_core_busy peak_generator_busy peak_core_busy "
    "merged merged_for_slow left_out left_out_share online changes_per_s changes".split()
)
"""By whole names: `peak_changes_per_s` is found, `changes_per_s` is chosen."""

_SECONDS = {"s": "second", "cpu_s": "CPU second"}
_WORDS = {"cpu": "CPU", "rss": "RSS", "p999": "p99.9"}


def shown_name(server: str) -> str:
    """What people call the server."""
    return SHOWN_NAMES.get(server, server.replace("_", " "))


def is_rate(figure: str) -> bool:
    """Is it so much per second? Then more is better; of everything else less is."""
    counted, per, what = figure.partition("_per_")
    return bool(per) and what in _SECONDS and not unit_of(counted)


def is_condition(figure: str) -> bool:
    """Does it tell what the run was like, rather than what it found? Then neither more nor less of it is better."""
    return figure in _CONDITIONS


def unit_of(figure: str) -> str:
    """The unit that the name ends in, or that stands before its `per`; empty for a plain number."""
    counted = figure.partition("_per_")[0] if "_per_" in figure else figure
    last = counted.rpartition("_")[2]
    return last if last in TIMES_US or last in BYTES else ""


def label(figure: str) -> str:
    """The figure in words, without its unit."""
    counted, per, what = figure.partition("_per_")
    unit = unit_of(counted)
    words = counted.removesuffix(unit).removesuffix("_") if unit else counted
    words = words or ("time" if unit in TIMES_US else unit)
    shown = " ".join(_WORDS.get(word, word) for word in words.split("_"))
    each = [_SECONDS.get(name, name.replace("_", " ")) for name in what.split("_per_")] if per else []
    return " per ".join([shown, *each])


def show(figure: str, value: float, digits: int = 3) -> str:
    """The value with its unit, to `digits` significant digits."""
    unit = unit_of(figure)
    if is_rate(figure):
        return f"{number(value, digits)} /{'s' if figure.endswith('_per_s') else 'CPU s'}"
    if unit in TIMES_US:
        return show_us(value * TIMES_US[unit], digits)
    if unit in BYTES:
        return show_bytes(value * BYTES[unit], digits)
    return number(value, digits if abs(value) >= 1 else min(digits, 2))


def show_us(value_us: float, digits: int = 3) -> str:
    """A time, in the unit that suits its size."""
    for limit, scale, unit in ((1e3, 1.0, "us"), (1e6, 1e3, "ms")):
        if abs(value_us) < limit * 0.9995:
            return f"{number(value_us / scale, digits)} {unit}"
    return f"{number(value_us / 1e6, digits)} s"


def show_bytes(value: float, digits: int = 3) -> str:
    """A size, in the unit that suits it."""
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1000:
            return f"{number(value, digits)} {unit}"
        value /= 1024
    return f"{number(value, digits)} GiB"


def plain(value: object) -> str:
    """A setting as it was given: numbers with thousands apart and no zeros at the end, lists with `and`."""
    if isinstance(value, list | tuple):
        return " and ".join(map(plain, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def number(value: float, digits: int = 3) -> str:
    """To `digits` significant digits, without an exponent; whole numbers whole, thousands apart."""
    if abs(value) < 10**digits:
        value = float(f"{value:.{digits}g}")
        if value == int(value):
            return f"{int(value):,}"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    if whole >= digits:
        return f"{value:,.0f}"
    if whole:
        return f"{value:.{digits - whole}f}"
    leading = 0
    while abs(value) * 10 ** (leading + 1) < 1 and leading < 9:
        leading += 1
    return f"{value:.{leading + digits}f}"
