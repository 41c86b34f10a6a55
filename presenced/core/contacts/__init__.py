"""Contacts (protocol.md, section 21.4): what an act makes of a pair, who is told of it, and what is saved of it.

`parts.contacts` puts these together. Who sees whom is not decided here: `faces` decides it, and reads the lists.
"""
