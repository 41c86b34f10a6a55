"""The simulator: whole lives of a server, its disk and its clients in one process, from a seed.

`python -m tests.sim` runs them; see `life` for what a life is, and `world` for what is real in it.
"""
