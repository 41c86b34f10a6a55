"""`presenced dashboard`: what ships with the package for Grafana and Prometheus, on standard output."""

from __future__ import annotations

from importlib.resources import files

import click

FILES = {"grafana": "grafana-dashboard.json", "alerts": "prometheus-rules.yml"}


@click.command(
    epilog="\b\nExamples:\n  presenced dashboard grafana > presenced.json    (Grafana: Dashboards, New, Import)\n"
    "  presenced dashboard alerts > /etc/prometheus/presenced-rules.yml    (rule_files: in prometheus.yml)"
)
@click.argument("what", type=click.Choice(list(FILES)))
def dashboard(what: str) -> None:
    """Print the dashboard for Grafana, or the alert rules for Prometheus.

    Both read the metrics that the daemon serves at /metrics with --http HOST:PORT.
    """
    click.echo(text_of(what), nl=False)


def text_of(what: str) -> str:
    """The file for `grafana` or `alerts`."""
    return files("presenced").joinpath("share", FILES[what]).read_text(encoding="utf-8")


COMMANDS: tuple[click.Command, ...] = (dashboard,)
