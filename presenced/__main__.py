"""`python -m presenced` is the `presenced` command."""

from presenced.cli.daemon import main

main(prog_name="presenced")
