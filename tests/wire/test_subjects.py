"""Whom each message is about: an answer for every type, and the right one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from presenced.wire.codec import CLIENT_MESSAGES
from presenced.wire.messages import (
    Acknowledge,
    AddActivity,
    AddClaim,
    Applied,
    Approve,
    Attach,
    Await,
    Beats,
    Block,
    Bye,
    Cancel,
    CancelAwait,
    Check,
    ClientMessage,
    Command,
    Compare,
    Detach,
    EndClaim,
    Erase,
    Explain,
    FindClaims,
    Focus,
    Follow,
    Forget,
    ForgetFollower,
    Get,
    GetActivity,
    GetAudience,
    GetBlocked,
    GetClaims,
    GetContacts,
    GetDevices,
    GetFollowers,
    GetHistory,
    GetMembers,
    GetSync,
    Heartbeat,
    Hello,
    HideFrom,
    Join,
    Kick,
    Leave,
    Ping,
    RemoveContact,
    Renew,
    Revoke,
    Route,
    SetAudience,
    SetContact,
    SetContacts,
    SetDevice,
    SetSchedule,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Sync,
    Touch,
    Unblock,
    Unsubscribe,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
)
from presenced.wire.subjects import Subject, subject_of
from tests.support.samples import SAMPLES

BOB = Subject("users", ("bob",))
ROOM = Subject("channel", channel="room")
REF_1 = Subject("held", refs=(1,))
NOBODY, SENDER, EVERYBODY = Subject("nobody"), Subject("sender"), Subject("everybody")

OF_THE_SAMPLES: dict[type, Subject] = {
    Hello: SENDER, Heartbeat: SENDER, Bye: SENDER, Ping: NOBODY,
    SetStatus: BOB, SetDevice: BOB, Get: BOB, Who: EVERYBODY, Watch: BOB, Unwatch: BOB,
    Attach: BOB, Detach: REF_1, Beats: REF_1, Forget: BOB, GetDevices: BOB, Touch: BOB,
    AddClaim: BOB, EndClaim: BOB, GetClaims: BOB, SetSchedule: BOB, AddActivity: BOB, GetActivity: BOB,
    Join: BOB, Leave: BOB, GetMembers: ROOM, WatchChannel: ROOM, UnwatchChannel: ROOM,
    Applied: SENDER, Sync: BOB, GetSync: BOB, Follow: EVERYBODY, Command: BOB, WatchAll: EVERYBODY,
    FindClaims: EVERYBODY, Renew: SENDER,
    Subscribe: BOB, Approve: BOB, Cancel: BOB, Unsubscribe: BOB, SetContact: BOB, RemoveContact: BOB,
    GetContacts: BOB, SetContacts: BOB, Block: BOB, Unblock: BOB, GetBlocked: BOB, HideFrom: BOB, ShowAgain: BOB,
    ShowTo: BOB, StopShowing: BOB, SetAudience: BOB, GetAudience: BOB,
    Revoke: BOB, Kick: BOB, Erase: BOB, Compare: EVERYBODY, Check: EVERYBODY, Explain: BOB,
    Await: BOB, CancelAwait: SENDER, Focus: SENDER, Route: BOB,
    GetHistory: BOB, Acknowledge: SENDER, GetFollowers: BOB, ForgetFollower: BOB,
}  # fmt: skip


def shape(subject: Subject) -> tuple[object, ...]:
    """A subject whose sequences compare by what is in them."""
    return subject.scope, list(subject.users), list(subject.refs), subject.channel


def test_there_is_a_sample_and_a_subject_for_every_type() -> None:
    assert set(SAMPLES) == set(OF_THE_SAMPLES) == set(CLIENT_MESSAGES.values())


@pytest.mark.parametrize("message", SAMPLES.values(), ids=lambda message: type(message).__name__)
def test_each_sample_is_about_whom_it_should_be(message: ClientMessage) -> None:
    assert shape(subject_of(message)) == shape(OF_THE_SAMPLES[type(message)])


@pytest.mark.parametrize(
    "kind", [kind for kind, sample in SAMPLES.items() if OF_THE_SAMPLES[kind] is BOB and hasattr(sample, "user")]
)
def test_a_message_without_a_user_is_about_its_sender(kind: type) -> None:
    message: Any = SAMPLES[kind]
    assert subject_of(msgspec.structs.replace(message, user="carol")) == Subject("users", ("carol",))
    assert subject_of(msgspec.structs.replace(message, user="")) == SENDER


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        (Watch(1, ["bob", "carol", "bob"]), Subject("users", ["bob", "carol", "bob"])),
        (Beats([]), Subject("held")),
        (Beats([17, 4_200, 18, -1]), Subject("held", refs=[17, 18])),
        (Focus(1, "room"), REF_1),
        (Detach(1, 0, True, "carol", "tab-1"), Subject("users", ["carol"])),
        (AddActivity(1, "message", "room"), SENDER),
        (Hello([1], "token", "", ""), SENDER),
        (WatchAll(1, False), EVERYBODY),
    ],
)
def test_subjects_of_other_forms(message: ClientMessage, subject: Subject) -> None:
    assert shape(subject_of(message)) == shape(subject)


def test_the_names_are_the_senders_where_nobody_else_is_named() -> None:
    names = {kind: list(subject_of(message).names("alice")) for kind, message in SAMPLES.items()}
    expected = {SENDER: ["alice"], BOB: ["bob"]}
    assert names == {kind: expected.get(subject, []) for kind, subject in OF_THE_SAMPLES.items()}
