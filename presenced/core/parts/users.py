"""The table of users."""

from __future__ import annotations

from presenced.core.model import User
from presenced.core.part import Parts
from presenced.core.publisher import Publisher


class Users(dict[str, User]):
    """All users by name. Made by `new`, dropped by `forget_if_blank`, otherwise read like the dict that it is."""

    def __init__(self, parts: Parts, publisher: Publisher) -> None:
        super().__init__()
        self.order: list[User] = []
        """The same users by `User.position`, for walks that take longer than a turn.

        The last takes the place of one that is dropped. So a walk from the end to the start sees every user that
        was there when it began, whatever comes and goes meanwhile.
        """
        self._parts = parts
        self._publisher = publisher

    def new(self, name: str) -> User:
        """A user of whom nothing is known yet. O(1)."""
        user = self[name] = User(name)
        user.position = len(self.order)
        self.order.append(user)
        return user

    def get_or_new(self, name: str) -> User:
        """The user of this name, made if need be. O(1)."""
        return self.get(name) or self.new(name)

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
        if self._parts.keep(user) or self.pop(user.name, None) is None:
            return
        last = self.order.pop()
        if last is not user:
            last.position = user.position
            self.order[last.position] = last
