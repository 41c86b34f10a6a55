"""`python -m bench PROFILE`: choose a profile, run it, print it. Exit codes: 0 clean, 1 void, failed or a broken
promise, 2 usage, 130 and 143 ended by Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bench.catalog import FLAG, PEERS, PROFILES
from bench.errors import BenchError
from bench.registry import Option, Profile
from bench.report import arithmetic, slo
from bench.results.files import NotAResult, read_result, write_text
from bench.runner import FAILED, SIGNALS, Wanted, run_all

USAGE = 2

EPILOG = f"""\b
Exit codes:
  0    every delivery was right, every promise kept
  1    a delivery was lost, doubled or wrong, a promise was broken, or there is
       no result
  2    wrong usage, or a file that is not a result
  130  ended by Ctrl-C, after what was there by then has been told
  143  the same by SIGTERM

--slo takes {slo.GRAMMAR}.
"""


def _new_file(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    # Before the run and not after it: a run may take an hour.
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"the directory {path.absolute().parent} is not there; create it first")
    return path


def _promises(_context: click.Context, _parameter: click.Parameter, texts: Sequence[str]) -> list[slo.Promise]:
    try:
        return [slo.promise_of(text) for text in texts]
    except slo.BadPromise as error:
        raise click.BadParameter(str(error)) from None


def _peers(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[str, ...] | None:
    """None for all that are installed."""
    names = tuple(name.strip() for name in text.lower().split(",") if name.strip())
    if names in (("all",), ("none",)):
        return None if names == ("all",) else ()
    unknown = [name for name in names if name not in PEERS]
    if unknown or not names:
        raise click.BadParameter(f"{text!r}: give all, none, or some of {', '.join(PEERS)} with commas between them")
    return tuple(dict.fromkeys(names))


_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
_OUTPUT = [
    click.Option(["--json", "as_json"], is_flag=True, help="One JSON object on stdout instead of a table."),
    click.Option(["--json-file"], type=_FILE, callback=_new_file, help="The same object into a file."),
    click.Option(["--csv", "csv_file"], type=_FILE, callback=_new_file, help="A row for each figure and round."),
    click.Option(["--report", "report_file"], type=_FILE, callback=_new_file, help="A page to look at (HTML)."),
    click.Option(["--slo"], multiple=True, callback=_promises, help="A promise such as p99=50ms; may be repeated."),
    click.Option(["-q", "--quiet"], is_flag=True, help="One line for each profile, and no progress bar."),
]
_PLACE = click.Option(
    ["--place"],
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory on a disk for the data; bench/build or the temporary directory if it is not given.",
)
_PEERS = click.Option(
    ["--peers"],
    default="all",
    callback=_peers,
    help=f"all that are installed, none, or some of {', '.join(PEERS)}: one that is named must be there.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True}, epilog=EPILOG)
def main() -> None:
    """Measure the daemon beside a bare C loop and its peers: CPU, latency, memory, durable writes, recovery.

    The servers are pinned to one core and the load to another. A run in which a delivery is lost, doubled or wrong, or
    an acknowledged write is lost, ends with exit code 1.
    """


def _wanted(given: dict[str, Any]) -> Wanted:
    """Takes the output's options out of what was given."""
    return Wanted(
        json=given.pop("as_json"),
        json_file=given.pop("json_file"),
        csv_file=given.pop("csv_file"),
        report_file=given.pop("report_file"),
        promises=given.pop("slo"),
        quiet=given.pop("quiet"),
    )


def _command(profile: Profile) -> click.Command:
    """The command of one profile."""
    options: list[click.Parameter] = [_option(option) for option in profile.options]
    if profile.rounds:
        options.append(_rounds(profile.rounds))
    if profile.peers:
        options.append(_PEERS)
    if profile.place:
        options.append(_PLACE)

    def run(**given: Any) -> None:
        wanted = _wanted(given)
        _hold_peers(profile, given)
        sys.exit(run_all([(profile, given)], wanted))

    return click.Command(
        profile.name, callback=run, params=[*options, *_OUTPUT], help=profile.about, short_help=profile.title
    )


def _hold_peers(profile: Profile, given: dict[str, Any]) -> None:
    """A usage error if a peer was named that the profile does not have."""
    strange = [name for name in given.get("peers") or () if name not in profile.peers]
    if strange:
        known = ", ".join(profile.peers)
        raise click.UsageError(f"{profile.name} is not compared with {', '.join(strange)}; there is {known}")


def _option(option: Option) -> click.Option:
    flag = f"--{option.name.replace('_', '-')}"
    if option.kind is FLAG:
        return click.Option([flag, option.name], is_flag=True, default=option.default, help=option.help)
    return click.Option(
        [flag, option.name],
        type=option.kind,
        default=option.default,
        multiple=option.multiple,
        help=option.help,
    )


def _rounds(default: int | None) -> click.Option:
    return click.Option(
        ["--rounds"], type=click.IntRange(1), default=default, help="Counted rounds; the servers take turns in each."
    )


def _all(quick: bool, rounds: int | None, peers: tuple[str, ...] | None, place: Path | None, **given: Any) -> None:
    wanted = _wanted(given)
    profiles = []
    for profile in PROFILES.values():
        settings = profile.settings(quick=quick)
        if profile.rounds and rounds is not None:
            settings["rounds"] = rounds
        if profile.peers:
            settings["peers"] = None if peers is None else tuple(name for name in peers if name in profile.peers)
        if profile.place:
            settings["place"] = place
        profiles.append((profile, settings))
    sys.exit(run_all(profiles, wanted))


def _report(files: tuple[Path, ...], output: Path) -> None:
    """Make one page of result files."""

    def draw() -> None:
        from bench.report.page import page  # needs matplotlib

        write_text(output, page([read_result(file) for file in files]))

    _exit_on_error(draw)


def _plot(files: tuple[Path, ...], output: Path) -> None:
    """Make one picture (SVG) of the bars in result files, as for a README."""

    def draw() -> None:
        from bench.report.charts import picture  # needs matplotlib

        write_text(output, picture([outcome for file in files for outcome in read_result(file).outcomes]))

    _exit_on_error(draw)


def _compare(a: Path, b: Path, as_json: bool, gate: bool) -> None:
    """Tell what differs between two result files by more than the noise: B over A, figure by figure."""
    from bench.report import comparison

    code = 0

    def tell() -> None:
        nonlocal code
        one, other = read_result(a), read_result(b)
        found = comparison.print_comparison(one, other, as_json=as_json)
        if gate:
            reasons = comparison.unjudged(one, other)
            for reason in reasons:
                print(f"bench: the gate stays shut: {reason}", file=sys.stderr)
            code = FAILED if found or reasons else 0

    _exit_on_error(tell)
    sys.exit(code)


def _arithmetic(files: tuple[Path, ...], users: tuple[int, ...], **given: float) -> None:
    """Print what many users cost in machines, from what one of each costs: a page in Markdown."""

    def tell() -> None:
        outcomes = [outcome for file in files for outcome in read_result(file).outcomes]
        print(arithmetic.page(users, arithmetic.Assumptions(**given), outcomes), end="")  # type: ignore[arg-type]

    _exit_on_error(tell)


def _exit_on_error(action: Callable[[], None]) -> None:
    try:
        action()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(USAGE if isinstance(error, NotAResult) else FAILED)


def _assumptions() -> list[click.Parameter]:
    """An option for each assumption of the arithmetic."""
    positive = click.FloatRange(0, min_open=True)
    sizes = click.Option(
        ["--users"],
        type=click.IntRange(1),
        multiple=True,
        default=arithmetic.SIZES,
        help="How many are known; may be repeated.",
    )
    return [
        sizes,
        *(
            click.Option(
                [f"--{name.replace('_', '-')}"],
                type=click.IntRange(1) if isinstance(value, int) else positive,
                default=value,
                help=arithmetic.ASSUMED[name].format("so much"),
            )
            for name, value in asdict(arithmetic.Assumptions()).items()
        ),
    ]


def _add_commands() -> None:
    for profile in PROFILES.values():
        main.add_command(_command(profile))
    quick = click.Option(["--quick"], is_flag=True, help="Small sizes and few rounds: about four minutes in all.")
    options: list[click.Parameter] = [quick, _rounds(None), _PEERS, _PLACE, *_OUTPUT]
    about = "Run every profile, one after another, into one result."
    main.add_command(click.Command("all", callback=_all, params=options, help=about))
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    page_file = click.Option(
        ["-o", "--output"], type=_FILE, required=True, callback=_new_file, help="The page to write."
    )
    files = click.Argument(["files"], nargs=-1, required=True, type=file)
    main.add_command(click.Command("report", callback=_report, params=[files, page_file], help=_report.__doc__))
    plot_file = click.Option(
        ["-o", "--output"], type=_FILE, required=True, callback=_new_file, help="The picture to write."
    )
    main.add_command(click.Command("plot", callback=_plot, params=[files, plot_file], help=_plot.__doc__))
    two: list[click.Parameter] = [click.Argument(["a"], type=file), click.Argument(["b"], type=file)]
    as_json = click.Option(["--json", "as_json"], is_flag=True, help="One JSON object instead of a table.")
    gate = click.Option(
        ["--gate"],
        is_flag=True,
        help="Exit with 1 if presenced got worse by more than the noise, or that cannot be judged.",
    )
    some = click.Argument(["files"], nargs=-1, type=file)
    main.add_command(
        click.Command("arithmetic", callback=_arithmetic, params=[some, *_assumptions()], help=_arithmetic.__doc__)
    )
    main.add_command(click.Command("compare", callback=_compare, params=[*two, as_json, gate], help=_compare.__doc__))


_add_commands()

if __name__ == "__main__":
    SIGNALS.install()
    main()
