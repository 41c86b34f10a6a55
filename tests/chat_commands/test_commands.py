"""What people type into a chat: each command, its sentence and its data."""

from __future__ import annotations

import subprocess
import sys

import pytest

from presenced.limits import COMMAND_BYTES_MAX
from presenced.wire.messages import AddActivity, Command, CommandReply, Error, Status
from tests.chat_commands.typed import typed
from tests.core.world import WALL_MS, FakeLink, World


def stage() -> tuple[World, FakeLink, FakeLink]:
    """A world, a chat bot's service, and alice's laptop."""
    world = World()
    bot = world.open("bot", role="service")
    bot.watch("alice")
    return world, bot, world.open("alice/laptop")


def test_presence_alone_tells_how_one_is_seen() -> None:
    world, bot, alice = stage()
    for text in ("/presence", "presence", " /Presence ", ""):
        reply = typed(alice, text)
        assert (reply.ok, reply.text, reply.verb) == (True, "You are online", "show")
        assert reply.records == [world.record("alice")]
    alice.set_status("dnd", text="in a meeting", emoji="*", for_ms=90 * 60_000)
    assert typed(alice, "/presence").text == "You are dnd: * in a meeting, for 1 h more"
    assert typed(bot, "/presence", "alice").text == typed(alice, "/presence").text


@pytest.mark.parametrize("status", ["online", "chat", "away", "xa", "dnd"])
def test_a_status_is_set_and_auto_ends_it(status: Status) -> None:
    world, bot, alice = stage()
    reply = typed(bot, f"/presence {status}", "alice")
    assert (reply.ok, reply.text, reply.verb) == (True, f"You are now {status}", status)
    assert reply.records[0].status == bot.view["alice"].status == status
    reply = typed(bot, "/presence auto", "alice")
    assert reply.text == "Back to what your devices say: you are online"
    assert world.user("alice").claims == ()


def test_offline_hides_and_the_reply_says_so() -> None:
    world, bot, alice = stage()
    assert typed(alice, "/presence offline").text == "You appear offline to everybody"
    assert bot.view["alice"].status == "offline" and alice.open


def test_a_status_for_somebody_without_a_device_shows_once_one_comes() -> None:
    world, bot, _ = stage()
    assert typed(bot, "/presence dnd", "bob").text == "You will show as dnd as soon as a device of yours is online"
    world.open("bob/phone")
    assert world.record("bob").status == "dnd"


@pytest.mark.parametrize(
    "text, for_ms, words",
    [
        ("away for 30m", 1_800_000, "30m"),
        ("DND for 1h30m", 5_400_000, "1h30m"),
        ("xa  for  90s ", 90_000, "1m30s"),
        ("Away For 30M", 1_800_000, "30m"),
        ("dnd for 1h 30m", 5_400_000, "1h30m"),
        ("Dnd for 30 Minutes", 1_800_000, "30m"),
        ("away for 1 hour 30 min", 5_400_000, "1h30m"),
        ("away\u00a0for\u00a02 days", 2 * 86_400_000, "2d"),
    ],
)
def test_a_status_holds_for_as_long_as_was_typed(text: str, for_ms: int, words: str) -> None:
    world, _, alice = stage()
    reply = typed(alice, f"/presence {text}")
    assert reply.ok and reply.text.endswith(f", for {words}")
    claim = world.user("alice").claim
    assert claim is not None and claim.until_ms == WALL_MS + for_ms


HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    "text, said",
    [
        ("away for 30m", 'You have set away, for 30m, but the call claim "c" says dnd for 59 min more: you are dnd'),
        ("away", 'You have set away, but the call claim "c" says dnd for 59 min more: you are dnd'),
        ("dnd", 'You have set dnd, but the call claim "c" says dnd for 59 min more: you are dnd'),
        ("auto", 'What you set is ended, but the call claim "c" says dnd for 59 min more: you are dnd'),
        ("clear", 'Cleared, but the call claim "c" says dnd for 59 min more: you are dnd'),
        ("offline for 30m", "You appear offline to everybody, for 30m"),
        ("", "You are dnd, for 59 min more"),
    ],
)
def test_what_covers_what_was_said_is_told(text: str, said: str) -> None:
    world, bot, alice = stage()
    bot.claim("alice", "c", "call", "dnd", for_ms=HOUR_MS)
    world.advance(1_000)
    assert typed(alice, text).text == said


def test_who_is_hidden_by_somebody_else_is_told_so() -> None:
    world, bot, alice = stage()
    bot.claim("alice", "c", "manual", "offline")
    covers = 'the manual claim "c" says offline until it is ended: you are offline'
    assert typed(alice, "away").text == f"You have set away, but {covers}"
    assert typed(alice, "offline for 5m").text == "You appear offline to everybody, for 5m"
    assert typed(alice, "auto").text == f"What you set is ended, but {covers}"


def test_a_claim_that_waits_for_a_device_is_told() -> None:
    world, bot, _ = stage()
    bot.claim("bob", "c", "call", "dnd")
    said = 'the call claim "c" says dnd until it is ended: you are offline, with no device online'
    assert typed(bot, "away", "bob").text == f"You have set away, but {said}"


def test_who_hides_is_told_that_a_new_text_waits() -> None:
    _, _, alice = stage()
    typed(alice, "offline")
    said = 'Your status is "lunch" for 1h; others see it once you do not appear offline'
    assert typed(alice, 'status "lunch" for 1h').text == said


def test_who_says_to_be_available_while_no_device_is_in_use_is_told_how_they_show() -> None:
    world, bot, _ = stage()
    bot.attach(1, "bob/web", idle_ms=400_000)
    said = "You have set online, for 30m; while no device of yours is in use you are away"
    assert typed(bot, "online for 30m", "bob").text == said


def test_what_is_weaker_is_not_mentioned() -> None:
    world, bot, alice = stage()
    bot.claim("alice", "c", "calendar", "dnd")
    assert typed(alice, "away for 30m").text == "You are now away, for 30m"


@pytest.mark.parametrize(
    "text, words, for_ms",
    [
        ('status "in a meeting"', "in a meeting", 0),
        ('status "in a meeting" for 30m', "in a meeting", 1_800_000),
        ("status 'in a meeting' for 2h", "in a meeting", 7_200_000),
        ("status \u201cin a meeting\u201d for 1d", "in a meeting", 86_400_000),
        ("status \u201cin a meeting\u201c for 1d", "in a meeting", 86_400_000),
        ("status \u201ein a meeting\u201c", "in a meeting", 0),
        ("status \u00abin a meeting\u00bb", "in a meeting", 0),
        ('status \u201cin a meeting" for 1 day', "in a meeting", 86_400_000),
        ('status \u201csay "hi" for me\u201d for 1d', 'say "hi" for me', 86_400_000),
        ("status \u2018back for lunch\u2019", "back for lunch", 0),
        ("status \u2018I\u2019m back for lunch\u2019 for 1h", "I\u2019m back for lunch", 3_600_000),
        ("status 'I'm out'", "I'm out", 0),
        ("status 'tis the season", "'tis the season", 0),
        ('Status "Lunch" For 1H 30M', "Lunch", 5_400_000),
        ('status "lunch" for 90 min', "lunch", 5_400_000),
        ("status out for lunch for 1 hour", "out for lunch", 3_600_000),
        ("status waiting for the 3 pm call", "waiting for the 3 pm call", 0),
        ("status in a meeting for 30m", "in a meeting", 1_800_000),
        ("status lunch", "lunch", 0),
        ("STATUS Lunch", "Lunch", 0),
        ('status "out for lunch"', "out for lunch", 0),
        ('status "out for 30m"', "out for 30m", 0),
        ('status "for 30m"', "for 30m", 0),
        ("status for lunch", "for lunch", 0),
        ('status "out for lunch" for 1h', "out for lunch", 3_600_000),
        ('status "my presence is required"', "my presence is required", 0),
        ("status \t lunch", "lunch", 0),
        ("status it's late", "it's late", 0),
        ('status say "hi" to me', 'say "hi" to me', 0),
    ],
)
@pytest.mark.parametrize("slash", ["/presence ", ""])
def test_a_text_is_set_quoted_or_not_perhaps_for_a_while(text: str, words: str, for_ms: int, slash: str) -> None:
    world, bot, alice = stage()
    reply = typed(alice, slash + text)
    assert reply.ok and reply.verb == "status" and f'"{words}"' in reply.text, reply
    user = world.user("alice")
    assert user.text == reply.records[0].text == bot.view["alice"].text == words
    assert user.text_until_ms == (WALL_MS + for_ms if for_ms else 0)
    assert user.claims == ()


@pytest.mark.parametrize(
    "text, said",
    [
        ("status", "say what your status is"),
        ('status ""', "say what your status is"),
        ("status " + "x" * 513, "longer than 512 bytes"),
        ('status "a\tb"', "U+0009"),
        ("away for ages", "is not a duration"),
        ("away for 30", "has no unit"),
        ("away for 400d", "longer than 366 days"),
        ("away for 0m", "'0m' is no time at all; give a longer one such as 30m, or none"),
        ("offline for 0", "'0' is no time at all"),
        ('status "lunch" for 0s', "'0s' is no time at all"),
        ("status for 5m", "say what your status is"),
        ("status FOR 5m ", "say what your status is"),
        ('status "lunch" for 30', "has no unit"),
        ("away until tomorrow", "takes nothing but"),
        ("dnd in a meeting", "a text goes with: status"),
        ("frobnicate now", "I do not know 'frobnicate'. Try: who, activity, "),
        ("<script>", "I do not know '<script>'"),
        ("clear for 2d", "clear takes nothing after it, and I do not understand 'for'; write clear alone"),
        ("who is this", "who takes nothing after it"),
        ("help me", "help takes nothing after it"),
        ("devices of bob", "devices takes nothing after it"),
        ("sync now", "sync takes nothing after it"),
        ("activity today", "activity takes nothing after it"),
        ("auto for 1h", "auto takes no time"),
        ("auto pilot", "auto takes nothing after it, and I do not understand 'pilot'; write auto alone"),
        ("online for a while", "takes nothing but"),
        ("away for 1h 30", "'1h 30' is not a duration"),
        ("away for 1 2h", "'1 2h' is not a duration"),
        ("away for 30m 1h", "do not go from large to small"),
        ("status looking for 2 people", "'2 people' is not a duration"),
        ("status back for lunch", "'lunch' is not a duration"),
        ('status "lunch" for ever', "'ever' is not a duration"),
        ('status "lunch" for the rest of the day', "is not a duration"),
        ('status "lunch" for', "can follow the closing quote"),
        ('status "lunch" at noon', "can follow the closing quote"),
        ('status "lunch', "is not closed"),
        ("status \u201clunch for 30m", "is not closed"),
        ("status for", "say what your status is"),
        ("status for 1h 30m", "say what your status is"),
        ("status \u2018\u2019", "say what your status is"),
        ("x" * 500, "I do not know"),
    ],
)
def test_what_cannot_be_done_gets_a_short_answer_and_changes_nothing(text: str, said: str) -> None:
    world, _, alice = stage()
    alice.set_status("away", text="before")
    before = (world.snapshot(), len(world.log.facts))
    reply = typed(alice, f"/presence {text}")
    assert not reply.ok and said in reply.text and len(reply.text) < 300
    assert (reply.records, reply.devices, reply.activities) == ([], [], [])
    assert (world.snapshot(), len(world.log.facts)) == before


def test_clear_ends_the_manual_status_and_the_text_and_nothing_else() -> None:
    world, bot, alice = stage()
    bot.claim("alice", "trip", "calendar", "xa")
    alice.set_status("dnd", text="lunch", emoji="*")
    reply = typed(alice, "/presence clear")
    assert reply.text == 'Cleared, but the calendar claim "trip" says xa until it is ended: you are xa'
    assert reply.verb == "clear"
    assert (world.user("alice").text, world.user("alice").emoji) == ("", "")


def test_who_lists_those_who_are_online_and_says_how_many() -> None:
    world, bot, alice = stage()
    typed(alice, "dnd")
    world.open("bob/phone")
    hidden = world.open("carol/phone")
    hidden.set_status("offline")
    reply = typed(alice, "/presence who")
    assert reply.text == "2 online: alice (dnd), bob (online)"
    assert [record.user for record in reply.records] == ["alice", "bob"]
    for number in range(30):
        bot.attach(number + 1, f"user{number:02}/web")
    reply = typed(alice, "who")
    assert reply.text.startswith("32 online: ") and reply.text.endswith(", ...") and len(reply.records) == 20


def test_activity_lists_what_was_done_last() -> None:
    world, bot, alice = stage()
    assert typed(alice, "/presence activity").text == "No activity of yours is recorded"
    alice.done(AddActivity(alice.next_id(), "message", "general"))
    world.advance(5_000)
    alice.done(AddActivity(alice.next_id(), "login", at_ms=world.wall_ms - 7_200_000))
    reply = typed(bot, "/presence activity", "alice")
    assert reply.text == "Your last activity: message in general 5 s ago; login 2 h ago"
    assert [done.activity for done in reply.activities] == ["message", "login"]


def test_devices_lists_them_with_their_states() -> None:
    world, bot, alice = stage()
    assert typed(alice, "/presence devices").text == "1 device: laptop connected, online, primary"
    phone = world.open("alice/phone", status="dnd")
    phone.lose()
    reply = typed(alice, "/presence devices")
    assert reply.text == "2 devices: laptop connected, online, primary; phone grace, dnd"
    assert [info.device for info in reply.devices] == ["laptop", "phone"]
    assert typed(bot, "/presence devices", "ghost").text == "No device of yours is known"
    assert "ghost" not in world.engine.users


def test_sync_sends_the_own_state_again_and_says_who_was_up_to_date() -> None:
    world, _, _ = stage()
    laptop = world.open("alice/laptop", sync=True)
    count = len(laptop.told.own)
    assert typed(laptop, "/presence sync").text == "Sent to your devices again; 0 of 1 were up to date"
    assert len(laptop.told.own) == count + 1


def test_help_names_every_command() -> None:
    world, bot, alice = stage()
    text = typed(alice, "/presence help").text
    unknown = typed(alice, "/presence ?").text
    for verb in ("who", "activity", "online", "away", "dnd", "offline", "auto", "status", "clear", "devices", "sync"):
        assert verb in text and verb in unknown
    for command in ("", "help", "who", "sync", "clear", "auto", "activity"):
        assert typed(bot, command, "ghost").ok
    assert "ghost" not in world.engine.users


def test_what_was_typed_on_a_device_counts_as_input_there_and_a_question_does_not() -> None:
    world, bot, _ = stage()
    bot.attach(1, "bob/web", idle_ms=400_000)
    typed(bot, "who", "bob", "web")
    assert world.record("bob").status == "away"
    typed(bot, 'status "back"', "bob", "web")
    assert world.record("bob").status == "online"


def test_a_command_that_is_too_long_is_refused() -> None:
    world, _, alice = stage()
    assert alice.refused(Command(alice.next_id(), "x" * (COMMAND_BYTES_MAX + 1))) == "bad_text"
    assert alice.refused(Command(alice.next_id(), "\u00e4" * (COMMAND_BYTES_MAX // 2 + 1))) == "bad_text"
    assert isinstance(alice.ask(Command(alice.next_id(), "x" * COMMAND_BYTES_MAX)), CommandReply)


def test_while_nothing_can_be_saved_questions_are_answered_and_the_rest_is_declined() -> None:
    world, _, alice = stage()
    world.log.refusal = "read_only"
    world.turn()
    for text in ("dnd", 'status "x"', "clear", "auto"):
        reply = typed(alice, text)
        assert not reply.ok and "full" in reply.text
    for text in ("", "who", "devices", "activity", "help", "sync"):
        assert typed(alice, text).ok
    assert world.record("alice").status == "online" and world.user("alice").text == ""
    assert not any(isinstance(message, Error) for message in alice.messages)


def test_a_person_is_not_kept_from_a_status_by_what_applications_claim() -> None:
    world, bot, alice = stage()
    for number in range(16):
        bot.claim("alice", f"claim{number}", "calendar", "xa")
    reply = typed(alice, "dnd")
    assert reply.ok and world.record("alice").status == "dnd"


def test_runs_of_spaces_cost_no_more_than_other_letters() -> None:
    # As long a text as makes a search that begins anew at each space take minutes, in a process with some seconds.
    code = """
import resource
from presenced.chat_commands.grammar import split_for, text_and_span
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
spaces = " " * 200_000
assert split_for("a" + spaces + "for" + spaces + "a b")[1] == 0
assert split_for("a" + spaces + "b" + spaces + "FOR" + spaces + "30m" + spaces) == ("a" + spaces + "b", 1_800_000)
assert text_and_span("'" + "'" * 200_000 + "a")[1] == 0
assert text_and_span(chr(8220) + "a" * 200_000 + '" for 30m')[1] == 1_800_000
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or "it took 20 s of CPU"


def test_what_changes_nothing_does_not_wait_for_the_disk() -> None:
    world = World()
    alice = world.open("alice/laptop")
    for text in ("", "who", "activity", "devices", "sync", "help", "nonsense", "dnd for soon"):
        alice.say(Command(alice.next_id(), f"/presence {text}"))
        assert not world.engine.obligations.acks, text
    for text in ("dnd", 'status "lunch"', "clear"):
        alice.say(Command(alice.next_id(), f"/presence {text}"))
        assert not world.engine.obligations.acks, "the answer tells the record, which is made at the end of the turn"
        world.engine.settle(world.now_ms)
        assert len(world.engine.obligations.acks) == 1, text
        world.turn()
