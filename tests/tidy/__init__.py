"""Rules on the shape of the code, checked on its syntax trees.

`sources` reads the files, `layers`, `purity`, `state`, `names` and `shape` each hold some rules and the tables that
these need, `rules` lists them. The tests run the rules on the repository, and break each of them once.
"""
