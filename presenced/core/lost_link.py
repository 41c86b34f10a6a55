"""What a lost link watched and held, kept for its client's return. Data only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar

from presenced.core.link_client import LinkClient, is_same_client
from presenced.wire.messages import Role, TakenWhy


class LeasedDevice(Protocol):
    """A device, as far as it matters here."""

    @property
    def lease_ms(self) -> int | None:
        """Until when it lives, if that was promised."""


S = TypeVar("S")
D = TypeVar("D", bound=LeasedDevice)


class HeldFar(NamedTuple):
    """A device that a lost link held and about which another node decides, by name."""

    ref: int
    user: str
    device: str
    if_gone: TakenWhy
    """What its client is told if it is gone by then."""


class Parked(Generic[S, D]):
    """What a lost link watched and held, kept for its client's return."""

    __slots__ = (
        "user_name", "role", "rights", "instance", "device_id", "issued_ms", "lost", "ended", "size", "good_ms",
        "watched", "names", "channels", "devices", "far", "leased", "taken", "kicked", "watches_contacts",
        "follows_contacts", "watches_all",
    )  # fmt: skip

    def __init__(self, client: LinkClient, device_id: str, issued_ms: int, good_ms: int) -> None:
        # who may take it back
        self.user_name = client.user_name
        self.role: Role = client.role
        self.rights = client.rights
        self.instance = client.instance
        self.device_id = device_id
        self.issued_ms = issued_ms
        # where it stands
        self.lost: S | None = None
        """The session of the lost link, until all of that has been let go of, and nothing is added here."""
        self.ended = ""
        """Why nobody may take it back any longer (`Resumptions`); empty = its client may."""
        self.size = 0
        """What it counts in `limits.PARKED_MAX`."""
        self.good_ms = good_ms
        """For how long its client may take it back."""
        # what there is to take back, each in no promised order
        self.watched = 0
        """Users whom it watched by name."""
        self.names: list[str] = []
        """Users among these who were let go of and have not been taken back."""
        self.channels: list[str] = []
        self.devices: list[tuple[int, D]] = []
        """With the refs under which they were held."""
        self.far: dict[str, list[HeldFar]] | None = None
        """Devices about which other nodes decide, by user."""
        self.taken: list[tuple[int, TakenWhy]] = []
        """Refs whose devices were lost before they could be let go of, and why."""
        self.leased: dict[D, None] | None = None
        """Devices among these that live until a promised time."""
        self.kicked: dict[D, None] | None = None
        """Devices among these whose users were kicked since."""
        self.watches_contacts = False
        self.follows_contacts = False
        """Whether it was told of changes of its user's list of contacts."""
        self.watches_all = False

    def is_of(self, client: LinkClient, device_id: str) -> bool:
        """Whether this is the client whose lost link had this, with the same device and the same rights."""
        return is_same_client(self, client) and self.device_id == device_id

    def is_beside(self, other: Parked[S, D]) -> bool:
        """Whether both are of one device, or of one client without a device of its own: the later one counts."""
        if (self.role, self.device_id) != (other.role, other.device_id):
            return False
        return self.device_id != "" or self.instance == other.instance

    def why_gone(self, device: D) -> TakenWhy:
        """What its client is told of this device of its if that is gone."""
        if self.kicked is not None and device in self.kicked:
            return "kicked"
        return "ended" if self.leased is not None and device in self.leased else "lost"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to take back, nor will be."""
        return self.lost is None and not (self.devices or self.far or self.names or self.channels or self.taken)

    def keep_wishes(self, watched: int, *, watches_contacts: bool, follows_contacts: bool, watches_all: bool) -> None:
        """What the link was told beside whom it named and where it looked; `watched` is how many it named."""
        self.watched = watched
        self.watches_contacts, self.follows_contacts = watches_contacts, follows_contacts
        self.watches_all = watches_all

    def keep(self, names: Iterable[str] = (), channels: Iterable[str] = ()) -> None:
        """Names and channels are let go of. O(these)."""
        self.names += names
        self.channels += channels

    def keep_device(self, ref: int, device: D) -> None:
        """A device is let go of."""
        self.devices.append((ref, device))
        if device.lease_ms is not None:
            if self.leased is None:
                self.leased = {}
            self.leased[device] = None

    def keep_far(self, held: Iterable[HeldFar]) -> None:
        """These devices were held, and other nodes decide about them. O(these)."""
        for one in held:
            if self.far is None:
                self.far = {}
            self.far.setdefault(one.user, []).append(one)

    def keep_taken(self, ref: int, why: TakenWhy) -> None:
        """A device was taken before it could be let go of."""
        self.taken.append((ref, why))

    def keep_kicked(self, device: D) -> None:
        """The device's user was kicked after it was let go of."""
        if self.kicked is None:
            self.kicked = {}
        self.kicked[device] = None

    def keep_kicked_user(self, name: str) -> None:
        """A user was kicked, perhaps by another node. O(devices of the user)."""
        if self.far is not None and name in self.far:
            self.far[name] = [one._replace(if_gone="kicked") for one in self.far[name]]

    def take_far(self, most: int) -> list[HeldFar]:
        """About so many devices about which other nodes decide. They are not in it from now on. O(these)."""
        held: list[HeldFar] = []
        while self.far and len(held) < most:
            held += self.far.popitem()[1]
        return held

    def take_devices(self, most: int) -> tuple[list[tuple[int, TakenWhy]], list[tuple[int, D]]]:
        """All that was taken, and up to so many devices. They are not in it from now on. O(these)."""
        taken, devices = self.taken, self.devices[-most:]
        self.taken = []
        del self.devices[-most:]
        return taken, devices

    def take_watch(self, most: int) -> tuple[list[str], list[str]]:
        """Up to so many names and as many channels, likewise."""
        names, channels = self.names[-most:], self.channels[-most:]
        del self.names[-most:], self.channels[-most:]
        return names, channels

    def end(self, why: str) -> None:
        """Nobody may take it back from now on."""
        self.ended = why

    def clear(self) -> None:
        """Keep nothing of it. O(what there is)."""
        self.names, self.channels, self.devices, self.taken = [], [], [], []
        self.far = self.leased = self.kicked = None
