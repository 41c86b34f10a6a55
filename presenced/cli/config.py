"""`presenced config`: is the configuration sound, what is in force and why, and a file to start from."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator

import click

from presenced.cli.as_user import user_of_the_service
from presenced.cli.preflight import all_faults, fault_of_limit
from presenced.cli.settings import config_option
from presenced.config import Settings
from presenced.config.certificate import read_certificate
from presenced.config.hosts import is_loopback, parse_address
from presenced.config.loader import ConfigSurvey, take_survey
from presenced.config.writer import default_text, settings_text

FAULTY = 78
CODES = "Exit codes: 0 the daemon would accept this configuration, 2 usage, 78 it would not."


@click.group()
def config() -> None:
    """Check and print the daemon's settings, or a file to start from.

    Settings come from a file, then the environment (PRESENCED_SECTION__KEY), then the options of `presenced serve`;
    the later weighs more.
    """


@config.command(epilog=CODES)
@config_option
@click.option("--user", metavar="NAME", help="Judge as this user what can be read. [default: see above]")
def check(config: str | None, user: str | None) -> None:
    """Say whether the daemon would start with these settings, and what to look at again.

    Every fault is told, one a line with its place. The files of the certificate, the key and the secret are read, and
    hosts looked up, as the daemon would. Root, asking about a configuration in /etc/presenced, is told what the user
    presenced may read, as whom the service runs; everybody else, what they may read themselves. Credentials of a unit
    are not looked at.
    """
    survey = take_survey({}, os.environ, config, outside=True)
    user = user_of_the_service(survey.loaded.path) if user is None else user
    try:
        faults = all_faults(survey, user=user)
    except KeyError:
        raise click.BadParameter(f"there is no user {user!r} on this machine", param_hint="--user") from None
    except PermissionError as error:
        raise click.BadParameter(str(error), param_hint="--user") from None
    _tell("warning: ", warnings(survey))
    if faults:
        _tell("", faults)
        sys.exit(FAULTY)
    click.echo(f"ok: {_summary(survey)}" + (f"; judged as the user {user}" if user else ""))


@config.command(epilog=CODES)
@config_option
@click.option("--origin", is_flag=True, help="Say with each value where it comes from.")
def show(config: str | None, origin: bool) -> None:
    """Print the settings in force as a file: what the daemon would run with if it were started without options.

    Files with secrets are named and not read.
    """
    survey = take_survey({}, os.environ, config, outside=True)
    if not survey.values:
        click.echo(settings_text(survey.loaded.settings, survey.loaded.origins if origin else None), nl=False)
    if survey.faults:
        _tell("", survey.faults)
        sys.exit(FAULTY)


@config.command()
def default() -> None:
    """Print a file with every key, its default, its meaning and its bounds, to start from."""
    click.echo(default_text(), nl=False)


def warnings(survey: ConfigSurvey) -> Iterator[str]:
    """What can work and may not be meant, a sentence each."""
    yield from survey.loaded.notes
    yield from concerns(survey.loaded.settings)
    for fault in fault_of_limit(survey.loaded.settings):
        yield f"{fault}; that is the limit of this shell, and the service has its own"


def concerns(settings: Settings) -> Iterator[str]:
    """Of these, what lies in the settings and the files that they name. Takes a few milliseconds."""
    if settings.http and not is_loopback(parse_address(settings.http)[0]):
        yield (
            f"http.address {settings.http} can be reached from other machines, and answers anybody who asks; "
            "use 127.0.0.1, or let a firewall decide who reaches it"
        )
    if not settings.tls_cert and not is_loopback(settings.address()[0]):
        yield (
            f"listen.address {settings.listen} can be reached from other machines, and without listen.tls_cert tokens "
            "cross the network unencrypted"
        )
    if settings.admin_socket and settings.admin_mode & 0o007:
        yield f"admin.mode {settings.admin_mode:04o} lets every account of this machine control the daemon; use 0660"
    if settings.tls_cert and (certificate := read_certificate(settings.tls_cert)) and certificate.warning():
        yield certificate.warning()
    if settings.secret_file and not settings.dev:
        try:
            mode = stat.S_IMODE(os.stat(settings.secret_file).st_mode)
        except (OSError, ValueError):
            return
        if mode & 0o007:
            yield f"the secret file {settings.secret_file} can be read by every account (mode {mode:04o}); chmod 0600"


def _summary(survey: ConfigSurvey) -> str:
    settings: Settings = survey.loaded.settings
    files = ", ".join(survey.loaded.files) or "no file"
    scheme = "presences" if settings.tls_cert else "presence"
    state = f"{settings.data_dir} ({settings.durability})" if settings.data_dir else "memory only"
    return f"{files}; listens on {scheme}://{settings.listen}, state in {state}"


def _tell(prefix: str, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        print(f"presenced: {prefix}{sentence}", file=sys.stderr)
