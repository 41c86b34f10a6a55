"""The profiles, one module each by its name; `run` of it takes the options in `bench.catalog` and gives an `Outcome`.

Nothing is imported before it is run. They share what is in `load` and `peers`, and nothing with each other.
"""
