"""What was found, for people. Measures nothing.

`table` and `sentences` on a terminal, and `progress` while they wait; `page` is the HTML report, which repeats them
beside the `charts` that matplotlib draws. `comparison` holds two files against each other, `slo` one run against
promises.
"""
