"""`presenced config`: it checks the configuration, prints the settings and where they come from, and a file to start
from."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator

import click

from presenced.cli.as_user import user_of_the_service
from presenced.cli.asides import print_aside
from presenced.cli.group import SentenceGroup
from presenced.cli.preflight import all_faults, fault_of_limit
from presenced.cli.settings import config_option
from presenced.config import Settings
from presenced.config.certificate import read_certificate
from presenced.config.cluster_keys import CLUSTER_KEYS
from presenced.config.engine_url import parse_engine
from presenced.config.hosts import is_loopback, parse_address
from presenced.config.loader import ConfigSurvey, take_survey
from presenced.config.writer import default_text, settings_text

FAULTY = 78
CODES = "Exit codes: 0 the daemon would accept this configuration, 2 usage, 78 it would not."


@click.group(cls=SentenceGroup)
def config() -> None:
    """Check and print the daemon's settings, or a file to start from.

    Settings come from a file, from the environment (PRESENCED_SECTION__KEY) and from the options of `presenced serve`,
    and the later source wins.
    """


@config.command(epilog=CODES)
@config_option
@click.option("--user", metavar="NAME", help="Check what this user can read. [default: see above]")
def check(config: str | None, user: str | None) -> None:
    """Say whether the daemon would start with these settings, and warn of settings that are doubtful.

    Every fault gets a line of its own, with its place. The command reads the files of the certificate, the key and the
    secret, and looks up hosts, as the daemon would. If root checks a configuration in /etc/presenced, files are read as
    the user presenced, who runs the service; otherwise as yourself. Credentials of a unit are not read.
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
    click.echo(f"ok: {_summary(survey)}" + (f"; checked as the user {user}" if user else ""))


@config.command(epilog=CODES)
@config_option
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
def show(config: str | None, origin: bool) -> None:
    """Print the settings as a file: those that a daemon started now without options would have.

    Files with secrets are named, and not read.
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
    """Settings that work and may be a mistake, a sentence each."""
    yield from survey.loaded.notes
    yield from concerns(survey.loaded.settings)
    for fault in fault_of_limit(survey.loaded.settings):
        yield f"{fault}; that is the limit of this shell, and the service has a limit of its own"


def concerns(settings: Settings) -> Iterator[str]:
    """The warnings that follow from the settings and the files that they name. Takes a few milliseconds."""
    for key, address in (("http.address", settings.http), ("http.own_address", settings.http_own)):
        if address and not is_loopback(parse_address(address)[0]):
            yield (
                f"{key} {address} can be reached from other machines, and answers anybody; use 127.0.0.1, or a firewall"
            )
    if not settings.tls_cert and not is_loopback(settings.address()[0]):
        yield (
            f"listen.address {settings.listen} can be reached from other machines, and without listen.tls_cert tokens "
            "cross the network unencrypted"
        )
    if sentence := _cluster_of_nobody(settings):
        yield sentence
    for section, power in (("cluster", "is as good as a node"), ("storage", "has the state of everybody")):
        if sentence := _open_engine(settings, section, power):
            yield sentence
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


def _cluster_of_nobody(settings: Settings) -> str:
    """A sentence if there are settings of a cluster, and this daemon is in none; else nothing."""
    if settings.cluster_url or settings.nodes > 1:
        return ""
    default = Settings()
    given = [key.name for key in CLUSTER_KEYS if getattr(settings, key.field) != getattr(default, key.field)]
    if not given:
        return ""
    return (
        f"without cluster.url this daemon is alone, and {', '.join(given)} "
        f"{'has' if len(given) == 1 else 'have'} no effect; give --cluster URL, or --nodes NUMBER"
    )


def _open_engine(settings: Settings, section: str, power: str) -> str:
    """A sentence if others could write to the log of the cluster, or to the store, and so have this power; else
    nothing."""
    url = getattr(settings, f"{section}_url")
    if not url:
        return ""
    engine = parse_engine(url)
    if engine.path or all(is_loopback(host) for host, _ in engine.hosts):
        return ""
    if not engine.is_tls:
        where = f"{engine.address} is on the network without TLS, and whoever reads or writes there {power}"
        return f"{where}; use rediss://, or a private network"
    if not (getattr(settings, f"{section}_password_file") or getattr(settings, f"{section}_tls_cert")):
        return f"{engine.address} is asked without a password, and whoever writes there {power}; give it one"
    return ""


def _summary(survey: ConfigSurvey) -> str:
    settings: Settings = survey.loaded.settings
    files = ", ".join(survey.loaded.files) or "no file"
    scheme = "presences" if settings.tls_cert else "presence"
    state = f"{settings.data_dir} ({settings.durability})" if settings.data_dir else "memory only"
    if settings.storage_url:
        state = parse_engine(settings.storage_url).address
    cluster = f", {settings.nodes} nodes" if settings.nodes > 1 else ""
    if settings.cluster_url:
        cluster += f", node {settings.node_name} of the cluster at {parse_engine(settings.cluster_url).address}"
    return f"{files}; listens on {scheme}://{settings.listen}, state in {state}{cluster}"


def _tell(prefix: str, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        print_aside(f"presenced: {prefix}{sentence}")
