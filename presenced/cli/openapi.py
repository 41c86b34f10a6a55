"""`presenced openapi`: the description of the requests over HTTP, for generators of clients and for documentation."""

from __future__ import annotations

import sys

import click


@click.command()
def openapi() -> None:
    """Print the OpenAPI document of the requests over HTTP.

    A daemon with `http.api` serves the same at /v1/openapi.json.
    """
    from presenced.http.api.openapi import document

    sys.stdout.write(document().decode())


COMMANDS: tuple[click.Command, ...] = (openapi,)
