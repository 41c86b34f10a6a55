"""The table of users: those who are awake as objects, and the others asleep (`dormants`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from presenced.core.dormants import NOTHING, Dormants
from presenced.core.model import DROPPED, User
from presenced.core.part import Parts
from presenced.core.publisher import Publisher
from presenced.wire.codec import encode

_awake = dict.get


class Users(dict[str, User]):
    """All users by name. Made by `new`, dropped by `forget_if_blank`, otherwise read like the dict that it is. Whoever
    asks for one who sleeps by `get` or `[]` wakes them. What walks over the dict, or asks by `in`, sees those alone who
    are awake."""

    def __init__(self, parts: Parts, publisher: Publisher) -> None:
        super().__init__()
        self.order: list[User] = []
        """The same users by `User.position`, for walks that take longer than a turn. The last user takes the place of
        one that is dropped. So a walk from the end to the start sees every user who was there when it began, whoever
        comes and goes meanwhile."""
        self.awake: Callable[[str], User | None] = partial(_awake, self)
        """The user of this name who is awake; one who sleeps sleeps on. Without a step of the interpreter. O(1)."""
        self.dormants = Dormants()
        self._parts = parts
        self._publisher = publisher
        self._wake: Callable[[User, bytes], object] | None = None
        self._make: Callable[[str], bool] | None = None
        self._is_copy: Callable[[str], bool] | None = None

    def copy_by(self, is_copy: Callable[[str], bool]) -> None:
        """Ask this of each user who is made or wakes: whether another node decides about them (`copies`), or none does
        yet."""
        self._is_copy = is_copy

    def set_copy(self, user: User, *, is_copy: bool) -> None:
        """Another node decides about the user from now on, or this one does. For `copies` alone. O(1)."""
        user.is_copy = is_copy

    def wake_by(self, wake: Callable[[User, bytes], object]) -> None:
        """Have this make of what there is what the user was."""
        self._wake = wake

    def make_by(self, make: Callable[[str], bool] | None) -> None:
        """While a start reads facts: have this make a user who is not there, by the name, of what has been read; it
        returns whether it did. None = all is read."""
        self._make = make

    @property
    def known(self) -> int:
        """How many users there are, awake or not."""
        return len(self) + len(self.dormants)

    def get(self, name: str, default: User | None = None) -> User | None:  # type: ignore[override]
        """The user of this name, who is awake from now on; `default` if nothing is known. O(1), and to wake one O(what
        is known of them): 20 us."""
        user = _awake(self, name)
        return user if user is not None else self._woken(name) or default

    def knows(self, name: str) -> bool:
        """Whether anything is known of the user, who may sleep on. O(1)."""
        return name in self or name in self.dormants

    def __missing__(self, name: str) -> User:
        user = self._woken(name)
        if user is None:
            raise KeyError(name)
        return user

    def new(self, name: str) -> User:
        """A user of whom nothing is known yet. O(1)."""
        user = self[name] = User(name)
        user.position = len(self.order)
        self.order.append(user)
        if self._is_copy is not None:
            user.is_copy = self._is_copy(name)
        return user

    def get_or_new(self, name: str) -> User:
        """The user of this name, made if need be. O(1)."""
        return self.get(name) or self.new(name)

    def get_or_new_all(self, names: Sequence[str]) -> list[User]:
        """The users of these names, in this order, made if need be. O(names), and as `get` for those who sleep."""
        # Nearly all are awake: without a step of the interpreter for each.
        users = [*map(self.awake, names)]
        if not all(users):
            users = [user or self.get_or_new(name) for name, user in zip(names, users, strict=True)]
        return cast(list[User], users)

    def for_request(self, name: str) -> User:
        """The user of this name, made if need be, and dropped with the turn if the request leaves nothing known of
        them. O(1)."""
        user = self.get(name)
        if user is None:
            user = self.new(name)
            self._publisher.mark_dirty(user)
        return user

    def look_again(self, user: User) -> None:
        """Drop the user with the turn if nothing is known of them any longer. O(1)."""
        self._publisher.mark_dirty(user)

    def forget_if_blank(self, user: User) -> None:
        """Drop a user of whom nothing is known and whom nobody watches, so that watching made-up names is free.
        Whether that is so is for the parts to say. O(parts)."""
        if not self._parts.keep(user):
            self._drop(user)

    def wake_some(self, most: int) -> int:
        """Wake up to so many of those who sleep; returns how many. O(these)."""
        woken = 0
        while woken < most and (name := self.dormants.any_name()) is not None:
            self.get(name)
            woken += 1
        return woken

    def wake_who_list(self, name: str) -> None:
        """Wake everybody who sleeps and has this name in their list of contacts, and perhaps others. O(bytes of all who
        sleep), if any of them has contacts: 0.1 s for a million."""
        if self.dormants.tally != NOTHING:
            for one in self.dormants.that_hold(encode(name)):
                self.get(one)

    def put_to_sleep(self, user: User, both: bytes) -> None:
        """Keep this (`dormants.packed`) instead of the user, to whom nobody must refer any longer. O(1)."""
        self.dormants.put(user.name, both)
        self._drop(user)

    def _drop(self, user: User) -> None:
        # Whoever was dropped in this turn may have come back in it, as another object: that one stays.
        if _awake(self, user.name) is not user:
            return
        del self[user.name]
        last = self.order.pop()
        if last is not user:
            last.position = user.position
            self.order[last.position] = last
        user.position = DROPPED

    def _woken(self, name: str) -> User | None:
        if self._make is not None and self._make(name):
            return _awake(self, name)
        if not self.dormants:
            return None
        both = self.dormants.take(name)
        if both is None or self._wake is None:
            return None
        user = self.new(name)
        self._wake(user, both)
        return user
