"""Names, labels, texts and URLs: what is accepted, what is refused, and that the refusal says what to do."""

from __future__ import annotations

import unicodedata

import pytest

from presenced.address import (
    DEFAULT_PORT,
    Url,
    check_channel,
    check_cursor,
    check_emoji,
    check_label,
    check_name,
    check_text,
    format_url,
    parse_url,
)
from presenced.errors import AddressError, PresenceError
from presenced.limits import EMOJI_BYTES_MAX, LABEL_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX

PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
"""A word that needs the zero-width non-joiner."""

SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
"""A black flag, the code of Scotland in tags, and the end of the tags."""

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
"""Man, woman and girl joined into one family."""


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "alice",
        "Alice",
        "alice@example.com",
        "alice+work@example.com",
        "550e8400-e29b-41d4-a716-446655440000",
        "a:b;c=d?e#f%g&h",
        "\\",
        "zo\u00eb",
        "\u0430\u043b\u0438\u0441\u0430",
        "\u674e\u96f7",
        "\U00031350",
        "\u0639\u0644\u064a",
        "\U0001f600",
        "x" * NAME_BYTES_MAX,
        "\u00eb" * (NAME_BYTES_MAX // 2),
    ],
)
def test_good_names(name: str) -> None:
    check_name(name, "user")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        ("x" * (NAME_BYTES_MAX + 1), f"longer than {NAME_BYTES_MAX} bytes"),
        ("\u00eb" * (NAME_BYTES_MAX // 2) + "x", f"longer than {NAME_BYTES_MAX} bytes"),
        ("a b", "U+0020 (a space)"),
        (" alice", "U+0020"),
        ("a/b", "U+002F"),
        ("\u00eb/b", "U+002F"),
        ("a\nb", "U+000A"),
        ("a\x00", "U+0000"),
        ("a\x7f", "U+007F"),
        ("a\x85", "U+0085"),
        ("a\u00a0b", "U+00A0"),
        ("a\u3000b", "U+3000"),
        ("a\u200bb", "U+200B"),
        ("a\u200db", "U+200D"),
        ("a\u00adb", "U+00AD"),
        ("a\ufeffb", "U+FEFF"),
        ("a\u202eb", "U+202E"),
        ("a\u2066b", "U+2066"),
        ("a\u2028b", "U+2028"),
        ("a\u2029b", "U+2029"),
        ("a\ue000b", "U+E000"),
        ("a\uffffb", "U+FFFF"),
        ("a\U000e0041b", "U+E0041"),
        ("\u3164", "U+3164"),
        ("\u2800", "U+2800"),
        ("\uffa0", "U+FFA0"),
        ("\u115f", "U+115F"),
        ("\u034fa", "U+034F"),
        ("alice\ufe0f", "U+FE0F"),
        ("alice\u180b", "U+180B"),
        ("alice\U000e0100", "U+E0100"),
        ("a\ufffcb", "U+FFFC"),
        ("a\u0378b", "U+0378"),
        ("a\U000e0fffb", "U+E0FFF"),
        ("zoe\u0308", "NFC"),
        ("\u212b", "NFC"),
    ],
)
def test_bad_names(name: str, says: str) -> None:
    with pytest.raises(AddressError) as caught:
        check_name(name, "user")
    assert says in caught.value.message
    assert "the user name" in caught.value.message
    assert caught.value.code == "bad_name"
    assert not caught.value.temporary


def test_the_message_says_which_name() -> None:
    with pytest.raises(AddressError, match="the device name is empty"):
        check_name("", "device")


def test_what_is_no_text_is_named_by_its_type() -> None:
    with pytest.raises(AddressError, match="the user name is of type list, and names are strings"):
        check_name(["alice"], "user")  # type: ignore[arg-type]


def test_the_refused_name_is_not_repeated() -> None:
    """It may be megabytes, or made to break a terminal; its first wrong character is named by number."""
    with pytest.raises(AddressError) as caught:
        check_name("secret\x1b[2J", "user")
    assert "secret" not in caught.value.message
    assert "\x1b" not in caught.value.message


def test_an_address_error_is_a_value_error_and_ours() -> None:
    assert issubclass(AddressError, ValueError)
    assert issubclass(AddressError, PresenceError)


def test_no_accepted_name_has_a_second_spelling() -> None:
    """Every single character of the basic plane: accepted means printable, visible and its own NFC."""
    for point in range(0x10000):
        character = chr(point)
        try:
            check_name(character, "user")
        except AddressError:
            continue
        assert unicodedata.normalize("NFC", character) == character, f"U+{point:04X}"
        assert unicodedata.category(character)[0] not in "CZ" or unicodedata.category(character) == "Cn", (
            f"U+{point:04X}"
        )
        assert character != "/"


@pytest.mark.parametrize("after", ["", "bob", "x" * NAME_BYTES_MAX, "alice\ufe0f", "\u3164", "a\u0378", "zoe\u0308"])
def test_a_page_begins_after_whatever_a_page_has_named(after: str) -> None:
    check_cursor(after)


@pytest.mark.parametrize("after", ["a b", "a/b", "a\nb", "b\x7f", "a\x85b", "x" * (NAME_BYTES_MAX + 1), "\ud800"])
def test_what_could_never_be_a_name_begins_no_page(after: str) -> None:
    with pytest.raises(AddressError):
        check_cursor(after)


# --- labels, texts, emoji ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label",
    [
        "",
        "Alice's laptop",
        "a/b",
        "caf\u00e9 \u2615",
        "cafe\u0301",
        FAMILY,
        SCOTLAND,
        f"from {SCOTLAND} with \u2764\ufe0f",
        "\U0001fae8",
        "\U00031350 \u0378",
        "co\u00adop\u2060eration",
        "\u2067\u05d0\u2066b\u2069\u05d0\u2069 \u200e-\u200f",
        "a\u00a0b\u3000c",
        "\u2800",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    ],
)
def test_good_labels(label: str) -> None:
    check_label(label, "device's label")
    check_text(label)
    check_emoji(label)


@pytest.mark.parametrize(
    "bad",
    ["a\nb", "\x1b[31m", "a\u202eb", "a\u200bb", "a\u2028b", "a\ue000", "\x00", "a\x85", "\ufeff", "\uffff", "\ufdd0",
     "\u2066open", "\u2069", "a\u2069\u2066b", "\u2066\u2066b\u2069", "a\U000e0067b", SCOTLAND[:-1], SCOTLAND[1:],
     "\U0001f3f4" + "\U000e0061" * 7 + "\U000e007f", "a\U000e0001b", "\U000e0fff", "\ufff9"],
)  # fmt: skip
def test_labels_are_one_line_of_visible_text(bad: str) -> None:
    for check in (check_text, check_emoji, lambda label: check_label(label, "device's label")):
        with pytest.raises(AddressError) as caught:
            check(bad)
        assert "U+" in caught.value.message
        assert caught.value.code == "bad_text"


def test_a_lone_surrogate_is_refused_everywhere() -> None:
    """Python strings can hold one, UTF-8 cannot: to encode it would raise what no caller expects."""
    with pytest.raises(AddressError, match="the user holds a lone surrogate"):
        check_name("a\ud800b", "user")
    with pytest.raises(AddressError, match="the text holds a lone surrogate"):
        check_text("a\udc80")


@pytest.mark.parametrize(
    ("check", "bytes_max"),
    [
        (check_text, TEXT_BYTES_MAX),
        (check_emoji, EMOJI_BYTES_MAX),
        (lambda label: check_label(label, "label"), LABEL_BYTES_MAX),
    ],
    ids=["text", "emoji", "label"],
)
def test_lengths_count_bytes(check, bytes_max: int) -> None:  # type: ignore[no-untyped-def]
    check("x" * bytes_max)
    check("\u00eb" * (bytes_max // 2))
    for long in ("x" * (bytes_max + 1), "\u00eb" * (bytes_max // 2) + "x"):
        with pytest.raises(AddressError, match=f"longer than {bytes_max} bytes"):
            check(long)


# --- URLs --------------------------------------------------------------------------------------------------------


def url(**parts: object) -> Url:
    plain = {"user": "alice", "token": "", "host": "h", "port": DEFAULT_PORT, "device": "laptop"}
    return Url(**{**plain, "tls": False, "kind": "", "name": "", "priority": 0, **parts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("presence://alice@h/laptop", url()),
        ("presences://alice@h/laptop", url(tls=True)),
        ("PRESENCE://alice@H/laptop", url()),
        ("presence://alice@127.0.0.1:6000/laptop", url(host="127.0.0.1", port=6000)),
        ("presence://alice@[::1]:6000/laptop", url(host="::1", port=6000)),
        ("presence://alice:ey.J0.eX@h/laptop", url(token="ey.J0.eX")),
        ("presence://alice:a%3Ab%2Fc@h/laptop", url(token="a:b/c")),
        ("presence://alice%40example.com@h/laptop", url(user="alice@example.com")),
        ("presence://zo%C3%AB@h/caf%C3%A9", url(user="zo\u00eb", device="caf\u00e9")),
        ("presence://alice@h", url(device="")),
        ("presence://alice@h/", url(device="")),
        ("presence://:token@h", url(user="", token="token", device="")),
        ("presence://h/laptop", url(user="")),
        (
            "presence://alice@h/laptop?kind=phone&name=Alice%27s%20phone&priority=-128",
            url(kind="phone", name="Alice's phone", priority=-128),
        ),
        ("presence://alice@h/laptop?priority=127", url(priority=127)),
        ("presence://alice@h/laptop?", url()),
        ("presence://alice@[fe80::1%25eth0]/laptop", url(host="fe80::1%eth0")),
        ("presence://alice@h/desk%231%3F%25", url(device="desk#1?%")),
        ("presence://alice@b\u00fccher.example/laptop", url(host="b\u00fccher.example")),
    ],
)
def test_good_urls(text: str, parts: Url) -> None:
    assert parse_url(text) == parts
    assert parse_url(format_url(parts)) == parts._replace(token=""), "written again it is the same, but for the token"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "presence://USER@HOST:PORT/DEVICE"),
        ("alice", "presence://USER@HOST:PORT/DEVICE"),
        ("alice@h:5250/laptop", "presence://USER@HOST:PORT/DEVICE"),
        ("http://alice@h/laptop", "does not start with presence://"),
        ("presence:///laptop", "names no host"),
        ("presence://alice@/laptop", "names no host"),
        ("presence://alice@h:port/laptop", "cannot be read"),
        ("presence://alice@h:65536/laptop", "cannot be read"),
        ("presence://alice@[::1/laptop", "cannot be read"),
        ("presence://alice@h/laptop?colour=red", "unknown parameter 'colour'"),
        ("presence://alice@h/laptop?priority=high", "from -128 to 127"),
        ("presence://alice@h/laptop?priority=128", "from -128 to 127"),
        ("presence://alice@h/laptop?priority=-129", "from -128 to 127"),
        ("presence://alice@h/laptop?priority=1.5", "from -128 to 127"),
        ("presence://alice@h:0/laptop", "port 0"),
        ("presence://alice@h/desk#1", "holds a #; in a name it is written %23: presence://USER@HOST"),
        ("presence://a#b@127.0.0.1/x", "holds a #"),
        ("alice@127.0.0.1/laptop", "does not start with presence://"),
        ("alice", "does not start with presence://"),
        ("presence://alice@h/lap\ttop", "holds U+0009 (a tab)"),
        ("presence://alice@h/laptop\n", "holds U+000A"),
        ("presence://ali ce@h/laptop", "holds U+0020"),
        ("\u00a0presence://alice@h/laptop", "holds U+00A0"),
        ("presence://alice@h/a%zz", "a % itself is written %25"),
        ("presence://alice@h/a%4", "a % itself is written %25"),
        ("presence://alice@h/laptop?name=a&name=b", "gives name twice"),
        ("presence://alice@h/laptop?name", "a ? in a name is written %3F"),
        ("presence://alice@h/laptop?name=a&kind", "cannot be read"),
        ("presence://alice@h/laptop?priority=1_0", "from -128 to 127"),
        ("presence://alice@h/laptop?name=@h", "an @ in the URL stands before the host"),
        ("presence://alice@x.org@h/laptop", "in a name it is %40"),
        ("presence://alice@h%41/laptop", "no name or address of a machine"),
        ("presence://alice@h\\/laptop", "no name or address of a machine"),
        ("presence://%ff@h/laptop", "not UTF-8"),
        ("presence://alice:%ff@h/laptop", "not UTF-8"),
        ("presence://alice@h/%E0%A4", "not UTF-8"),
        ("presence://alice@h/laptop?name=%ff", "not UTF-8"),
        ("presence://alice@h/laptop?priority=", "from -128 to 127"),
        ("presence://alice@h/laptop?kind=%01", "the kind holds U+0001"),
        ("presence://alice@h/laptop?name=a%0Ab", "the device label holds U+000A (a line break); write it in one line"),
        ("presence://al%20ice@h/laptop", "user name holds U+0020"),
        ("presence://al%0Aice@h/laptop", "user name holds U+000A"),
        ("presence://alice@h/lap/top", "device name holds U+002F"),
        ("presence://alice@h/lap%2Ftop", "device name holds U+002F"),
        (f"presence://{'x' * 129}@h/laptop", "user name is longer"),
        (f"presence://alice@h/{'x' * 129}", "device name is longer"),
    ],
)
def test_bad_urls_say_what_to_write(text: str, says: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_url(text)
    assert says in caught.value.message


@pytest.mark.parametrize("device", ["", "/laptop"])
@pytest.mark.parametrize(
    "user",
    [
        "x@evil.example:9/d?name=",
        "x@evil.example:9/d?kind=a&name=",
        "x@evil.example:9/d#",
        "x@evil.example:9/",
        "evil.example:9/d",
        "evil.example:9/",
        "evil.example:9?name=",
        "x@evil.example/d?priority=1&",
        "x@evil.example\\",
        "x:y@evil.example/%",
    ],
)
def test_a_user_that_was_put_in_as_it_is_leads_to_no_other_host(user: str, device: str) -> None:
    """A program that writes f"presence://{user}@{host}{device}" would send its token to whom the user names."""
    for text in (f"presence://{user}@h.example{device}", f"presence://{user}:S3CRET@h.example{device}"):
        with pytest.raises(AddressError) as caught:
            parse_url(text)
        assert "S3CRET" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "http://alice:S3CRET@h/x",
        "presence://alice:S3?CRET@h/x",
        "presence://alice:to?S3CRET",
        "presence://alice:to?S3CRET=@h/x",
        "presence://alice:S3CRET@h:x/x",
        "presence://alice:S3CRET@/x",
        "presence://alice:S3CRET@h/x?priority=x",
        "presence://alice:S3CRET@h/x?a=b",
        "presence://alice:S3CRET@h/x/y",
    ],
)
def test_a_token_is_never_in_a_message(text: str) -> None:
    """Messages go to logs and terminals; a token there is a login for whoever reads them."""
    with pytest.raises(AddressError) as caught:
        parse_url(text)
    assert "S3CRET" not in caught.value.message


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 129, "\ud800"])
def test_the_rules_for_channels_are_those_for_users_under_a_code_of_their_own(name: str) -> None:
    with pytest.raises(AddressError, match="the channel ") as caught:
        check_channel(name)
    assert caught.value.code == "bad_channel"
    check_channel("general")
