"""`python -m presenced` is the `presenced` command."""

from presenced.cli.entry import daemon

daemon()
