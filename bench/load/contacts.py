"""Who watches whom: the same for every profile of users who watch each other."""

from __future__ import annotations

import random

from bench.errors import BenchError


def random_graph(users: int, contacts: int, seed: int) -> dict[str, list[str]]:
    """Whom each user watches; `BenchError` if there are too few for that."""
    if contacts >= users:
        raise BenchError(f"{users} users cannot have {contacts} contacts each; ask for fewer contacts")
    choose = random.Random(seed)
    names = [f"user{index}" for index in range(users)]
    found = {}
    for own in range(users):
        # One more than needed, of which oneself is left out: a list without oneself for each would be quadratic.
        chosen = choose.sample(range(users), contacts + 1)
        found[names[own]] = [names[index] for index in chosen if index != own][:contacts]
    return found
