"""`python -m presenced.conformance`: see `--help`."""

from presenced.conformance.commands import main

main()
