"""What was found, for people. Measures nothing.

`table` and `sentences` on a terminal, and `progress` while they wait; `html` is the page, with `style` and the charts
of `svg`, and `plot` one picture. `compare` holds two files against each other, `slo` one run against promises.
"""
