"""Where settings come from, which of them wins, and that every fault is told with its place."""

from __future__ import annotations

import errno
import grp
import os
import sys
from pathlib import Path

import msgspec
import pytest

from presenced.config import Configuration, Settings, SettingsError, difference, load, loader
from presenced.config.loader import take_survey
from tests.config.making import faults, loaded, written

DEV = "[auth]\ndev = true\n"


@pytest.fixture(autouse=True)
def system_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads what this machine has in /etc."""
    place = tmp_path / "etc"
    monkeypatch.setattr(loader, "SYSTEM_DIRECTORY", str(place))
    return place


# --- who wins ----------------------------------------------------------------------------------------------------


def test_options_over_environment_over_drop_ins_over_the_file_over_defaults(tmp_path: Path) -> None:
    path = written(tmp_path / "f.toml", DEV + "[change]\nburst = 1\n[presence]\ngrace = '1s'\naway_after = '1s'\n")
    first = written(tmp_path / "f.d" / "10.toml", "[presence]\ngrace = '2s'\naway_after = '2s'\n")
    second = written(tmp_path / "f.d" / "20.toml", "[presence]\naway_after = '3s'\noffline_after = '3s'\n")
    environ = {"PRESENCED_PRESENCE__OFFLINE_AFTER": "4s", "PRESENCED_HEARTBEAT__INTERVAL": "1s"}
    found = load({"heartbeat": 2_000, "listen": None, "check": False, "idle": ()}, environ, path)
    settings = found.settings
    assert (settings.change_burst, settings.grace_ms, settings.away_after_ms) == (1, 2_000, 3_000)
    assert (settings.offline_after_ms, settings.heartbeat_ms, settings.listen) == (4_000, 2_000, Settings().listen)
    assert (found.path, found.files, found.notes) == (path, (path, first, second), ())
    assert {name: str(origin) for name, origin in found.origins.items() if origin.source != "default"} == {
        "auth.dev": f"{path}:2",
        "change.burst": f"{path}:4",
        "presence.grace": f"{first}:2",
        "presence.away_after": f"{second}:2",
        "presence.offline_after": "PRESENCED_PRESENCE__OFFLINE_AFTER",
        "heartbeat.interval": "--heartbeat",
    }


@pytest.mark.parametrize("reverse", [False, True])
def test_drop_ins_are_read_in_order_of_name_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reverse: bool
) -> None:
    """Whatever the order in which the file system lists them."""
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda place: sorted(listed(place), reverse=reverse))
    path = written(tmp_path / "f.toml", DEV)
    for name, burst in (("b.toml", 3), ("a.toml", 2), (".c.toml", 4), ("d.toml~", 5), ("e.conf", 6)):
        written(tmp_path / "f.d" / name, f"[change]\nburst = {burst}\n")
    found = load({}, {}, path)
    assert [os.path.basename(name) for name in found.files] == ["f.toml", "a.toml", "b.toml"]
    assert found.settings.change_burst == 3


def test_servers_with_files_in_one_directory_do_not_share_drop_ins(tmp_path: Path) -> None:
    """`conf.d` is that of presenced.toml; of any other file it is named after the file."""
    burst = "[change]\nburst = {}\n"
    paths = [written(tmp_path / name, DEV) for name in ("presenced.toml", "two.toml", "three.conf")]
    drop_ins = [
        written(tmp_path / name / "x.toml", burst.format(number)) for number, name in enumerate(("conf.d", "two.d"), 2)
    ]
    found = [load({}, {}, path) for path in paths]
    assert [one.files for one in found] == [(paths[0], drop_ins[0]), (paths[1], drop_ins[1]), (paths[2],)]
    assert [one.settings.change_burst for one in found] == [2, 3, Settings().change_burst]
    assert load({}, {"PRESENCED_CONFIG": paths[1]}, None).files == found[1].files


def test_idle_times_are_put_together_kind_by_kind(tmp_path: Path) -> None:
    text = DEV + '[presence.idle]\nmobile = "1m,0"\ntv = "1m,0"\nweb = "1m, 60s"\n'
    environ = {"PRESENCED_PRESENCE__IDLE": "tv=2m,0;watch=2m,0"}
    found = loaded(text, tmp_path, environ, idle=("watch=3m,0", "watch=4m,0"))
    assert found.settings.idle == ("mobile=1m,0", "tv=2m,0", "watch=4m,0", "web=1m,1m")
    assert str(found.origins["presence.idle.mobile"]).endswith(":4")
    assert str(found.origins["presence.idle.tv"]) == "PRESENCED_PRESENCE__IDLE"
    assert str(found.origins["presence.idle.watch"]) == "--idle"


def test_graces_are_put_together_beside_idle_times(tmp_path: Path) -> None:
    text = (
        DEV + '[presence]\ngrace = "20s"\n[presence.kind_grace]\nmobile = "2m"\ntv = "0"\n[presence.idle]\ntv = "0,0"\n'
    )
    found = loaded(text, tmp_path, {"PRESENCED_PRESENCE__KIND_GRACE": "tv=5s"}, kind_grace=("watch=60s",))
    assert found.settings.kind_grace == ("mobile=2m", "tv=5s", "watch=1m")
    assert found.settings.idle == ("tv=0,0",) and found.settings.grace_ms == 20_000
    assert str(found.origins["presence.kind_grace.tv"]) == "PRESENCED_PRESENCE__KIND_GRACE"
    policy = found.settings.policy()
    assert [policy.grace_of(kind) for kind in ("mobile", "tv", "watch", "desktop", "")] == [
        *(120_000, 5_000, 60_000, 20_000, 20_000)
    ]
    assert policy.grace_max_ms == 120_000


def test_an_option_may_take_back_what_a_file_says(tmp_path: Path) -> None:
    text = DEV + "[storage]\ndirectory = '/var/lib/presenced'\n[listen]\nrate = 7\n"
    assert loaded(text, tmp_path).settings.data_dir == "/var/lib/presenced"
    settings = loaded(text, tmp_path, {"PRESENCED_LISTEN__RATE": "auto"}, data_dir="").settings
    assert (settings.data_dir, settings.rate) == ("", None)


# --- which file --------------------------------------------------------------------------------------------------


def test_the_order_in_which_files_are_looked_for(tmp_path: Path, system_directory: Path) -> None:
    option, variable = written(tmp_path / "a" / "o.toml", DEV), written(tmp_path / "b" / "v.toml", DEV)
    unit = written(tmp_path / "c" / "presenced.toml", DEV)
    system = written(system_directory / "presenced.toml", DEV)
    environ = {"PRESENCED_CONFIG": variable, "CONFIGURATION_DIRECTORY": f"{tmp_path}/none:{tmp_path}/c"}
    assert load({}, environ, option).path == option
    assert load({}, environ, None).path == variable
    del environ["PRESENCED_CONFIG"]
    assert load({}, environ, None).path == unit
    assert load({}, {"CONFIGURATION_DIRECTORY": str(tmp_path), "PRESENCED_CONFIG": ""}, None).path == system
    assert load({}, {}, "").path == system


def test_trying_out_does_not_read_what_the_service_is_configured_for(tmp_path: Path, system_directory: Path) -> None:
    written(system_directory / "presenced.toml", "[auth]\nsecret_file = '/s'\n")
    assert load({}, {}, None).settings.secret_file == "/s"
    found = load({"dev": True}, {}, None)
    assert (found.path, found.files, found.settings.secret_file) == ("", (), "")
    unit = written(tmp_path / "c" / "presenced.toml", "[change]\nburst = 3\n")
    assert load({"dev": True}, {"CONFIGURATION_DIRECTORY": str(tmp_path / "c")}, None).path == unit


def test_drop_ins_need_no_main_file(system_directory: Path) -> None:
    only = written(system_directory / "conf.d" / "x.toml", DEV)
    assert load({}, {}, None).files == (only,)


def test_no_file_at_all() -> None:
    found = load({"secret_file": "/s"}, {}, None)
    assert (found.path, found.files) == ("", ())
    assert found.settings == Settings(secret_file="/s")


def test_a_file_of_the_system_that_cannot_be_read_is_noted(
    system_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = written(system_directory / "presenced.toml", "no toml")
    drop_in = written(system_directory / "conf.d" / "x.toml", DEV)
    monkeypatch.setattr(os, "access", lambda path, mode: path != system)
    found = load({}, {}, None)
    assert found.files == (drop_in,)
    assert found.notes == (f"{system}: not read, because permission is missing",)


def test_drop_ins_that_cannot_be_listed(
    tmp_path: Path, system_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the system's files that is a note, of files that were asked for a fault."""
    path = written(tmp_path / "presenced.toml", "")
    written(system_directory / "presenced.toml", DEV)

    def denied(place: str) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", place)

    monkeypatch.setattr(os, "listdir", denied)
    assert load({}, {}, None).notes == (f"{system_directory}/conf.d: cannot be read: Permission denied",)
    for environ in ({"PRESENCED_CONFIG": path}, {"CONFIGURATION_DIRECTORY": str(tmp_path)}):
        with pytest.raises(SettingsError) as caught:
            load({}, environ, None)
        assert caught.value.faults == (f"{tmp_path}/conf.d: cannot be read: Permission denied",)


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path, how: str) -> None:
    path = str(tmp_path / "nothing.toml")
    with pytest.raises(SettingsError) as caught:
        load({}, {"PRESENCED_CONFIG": path}, path if how == "option" else None)
    assert caught.value.faults == (f"{path}: does not exist; `presenced config default` prints one to start from",)


def test_one_bad_file_does_not_hide_the_faults_of_another(tmp_path: Path) -> None:
    """But what only holds between values is not judged: the bad file may have said it."""
    path = written(tmp_path / "f.toml", "[listen]\nrate = -1\n")
    bad = written(tmp_path / "f.d" / "a.toml", "[listen\n")
    os.symlink("/nonexistent", tmp_path / "f.d" / "b.toml")
    with pytest.raises(SettingsError) as caught:
        load({}, {}, path)
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [
        f"{path}:2",
        f"{bad}:1:8",
        str(tmp_path / "f.d" / "b.toml"),
    ]


# --- faults ------------------------------------------------------------------------------------------------------


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = """\
[listen]
address = "1.2.3.4"
rate = -5
adress = "x:1"

[heartbeat]
interval = 30
[presence.idle]
mobile = "10m"
"a b" = 3
[log]
level = "warn"
[visibility]
grounds = ["contact"]
[purple]
red = 1
"""
    environ = {"PRESENCED_STORAGE__SNAPSHOT_LOG": "64MB", "PRESENCED_CHANGE__BURST": "no"}
    assert faults(text, tmp_path, environ, heartbeat=0, secret_file="/s") == [
        'FILE:2: listen.address = "1.2.3.4" is not HOST:PORT; give HOST:PORT, such as 127.0.0.1:5250',
        'FILE:3: listen.rate = -5 is out of range; give a whole number from 0 to 1000000000, or "auto"',
        "FILE:4: there is no key listen.adress; did you mean listen.address?",
        'FILE:7: heartbeat.interval = 30 has no unit; give a duration from 10ms to 366d, such as "30s"',
        'FILE:9: presence.idle.mobile = "10m" is not two durations; give AWAY,OFFLINE, such as "10m,0" (0 = never)',
        'FILE:10: presence.idle."a b" = 3 is not text in quotes; give AWAY,OFFLINE, such as "10m,0" (0 = never)',
        'FILE:12: log.level = "warn" is none of the choices (did you mean warning?); '
        "give debug, info, warning or error",
        'FILE:14: visibility.grounds = an array has "contact", which is none of the choices (did you mean contacts?); '
        "give a list of any of everyone, contacts, channels and domain",
        "FILE:15: there is no section purple; the sections are listen, auth, heartbeat, presence, visibility, "
        "change, channels, limits, storage, events, webhooks, cluster, drain, admin, http, log, runtime",
        'PRESENCED_CHANGE__BURST: change.burst = "no" is not a whole number; give a whole number from 1 to 1000',
        'PRESENCED_STORAGE__SNAPSHOT_LOG: storage.snapshot_log = "64MB" is not a size in B, KiB, MiB, GiB or TiB; '
        'give a size from 1B to 1TiB, such as "64MiB"',
        '--heartbeat: heartbeat.interval = "0" is out of range; give a duration from 10ms to 366d, such as "30s"',
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[presense]\ngrace = '1s'", "FILE:1: there is no section presense; did you mean presence?"),
        (
            "address = 'x:1'",
            "FILE:1: address is outside of a section; did you mean listen.address or http.address?",
        ),
        ("[heartbeat]\ngrace = '1s'", "FILE:2: there is no key heartbeat.grace; did you mean presence.grace?"),
        ("[heartbeat]\nintervall = 1", "there is no key heartbeat.intervall; did you mean heartbeat.interval?"),
        ("[heartbeat]\nx = 1", "FILE:2: there is no key heartbeat.x; heartbeat has interval"),
        ("listen = 'x:1'", "FILE:1: listen is a section; write [listen] and below it "),
        ("[[log]]\nlevel = 'x'", "FILE:1: log is a section; write [log]"),
        ('"a\\nb" = 1', 'FILE:1: there is no section "a\\nb"; the sections are'),
        ("[presence]\nidle = 'x=1m,0'", 'FILE:2: presence.idle = "x=1m,0" is not a table; give AWAY,OFFLINE'),
        ("[log]\nlevel = {x = 1}", "FILE:2: log.level = a table is not text in quotes"),
        ("[log]\nlevel = 1979-05-27", "FILE:2: log.level = 1979-05-27 is not text in quotes"),
        ("[storage]\ndirectory = 'credential:x'", "is a credential, and those are files that are only read"),
        (f"[admin]\nsocket = '{'x' * 108}'", "has 108 bytes, more than 107; give a path"),
        ("[http]\naddress = '9250'", 'FILE:2: http.address = "9250" is not HOST:PORT'),
        ("[http]\naddress = 'a:99999'", 'FILE:2: http.address = "a:99999" has a port above 65535; give HOST:PORT'),
    ],
)
def test_single_faults(tmp_path: Path, text: str, fault: str) -> None:
    (said,) = faults(text, tmp_path, dev=True)
    assert fault in said


def test_variables_that_name_nothing(tmp_path: Path) -> None:
    environ = {
        "PRESENCED_LISTEN__ADRESS": "x",
        "PRESENCED_QQ__ZZ": "hunter2",
        "PRESENCED_HARTBEAT__INTERVAL": "1s",
        "PRESENCED_PRESENCE__IDLE__MOBILE": "1m,0",
        "PRESENCED_CONFIG": "/not/looked/at",
        "PRESENCED_LOG_LEVEL": "debug",
        "PRESENCED_PORT": "tcp://10.0.0.1:5250",
        "PRESENCE_URL": "x",
    }
    assert faults("", tmp_path, environ, dev=True) == [
        "PRESENCED_HARTBEAT__INTERVAL: names no setting; did you mean PRESENCED_HEARTBEAT__INTERVAL?",
        "PRESENCED_LISTEN__ADRESS: names no setting; did you mean PRESENCED_LISTEN__ADDRESS?",
        "PRESENCED_PRESENCE__IDLE__MOBILE: names no setting; did you mean PRESENCED_PRESENCE__IDLE?",
        "PRESENCED_QQ__ZZ: names no setting; `presenced config default` lists the known ones",
    ]
    sound = {name: text for name, text in environ.items() if "__" not in name}
    assert loaded(DEV, tmp_path, sound).notes == (
        "PRESENCED_LOG_LEVEL is not read; did you mean PRESENCED_LOG__LEVEL?",
    )


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    """Somebody may write the secret itself where a path is wanted, or under a name that does not exist."""
    text = "[auth]\nsecret = 'hunter2'\nsecret_file = ['hunter2']\n[token]\nx = 'hunter2'\n"
    environ = {"PRESENCED_AUTH__SECRET_FILE": "hunter2\n", "PRESENCED_AUTH__SECRET": "hunter2"}
    said = faults(text, tmp_path, environ, secret_file="hunter2\n")
    assert len(said) == 6
    assert "hunter2" not in "".join(said)
    assert said[1] == (
        "FILE:3: the value of auth.secret_file is not text in quotes; "
        "give a path or credential:NAME of at most 4095 bytes"
    )


@pytest.mark.parametrize("secret", ["q9" * 32, "/" + "q9" * 32, "q9/q9" * 16, "/q9/q9" * 16])
def test_a_secret_where_the_path_of_its_file_belongs_is_not_repeated(tmp_path: Path, secret: str) -> None:
    text = f"[auth]\nsecret_file = '{secret}'\n"
    for said in (
        faults(text, tmp_path),
        faults("", tmp_path, {"PRESENCED_AUTH__SECRET_FILE": secret}),
        faults("", tmp_path, secret_file=secret),
    ):
        assert "q9" not in "".join(said)
        assert "the value of auth.secret_file is not the path of a file that exists here; give a path" in said[0]


def test_a_long_path_of_a_missing_file_is_repeated(tmp_path: Path) -> None:
    path = str(tmp_path / ("secret-of-the-presence-server-of-" + "x" * 40))
    assert loaded(f"[auth]\nsecret_file = '{path}'\n", tmp_path).settings.secret_file == path


# --- credentials -------------------------------------------------------------------------------------------------


def test_a_credential_is_a_file_in_the_directory_of_credentials(tmp_path: Path) -> None:
    written(tmp_path / "credentials" / "auth-secret", "x")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    text = "[auth]\nsecret_file = 'credential:auth-secret'\n"
    found = loaded(text, tmp_path, environ)
    assert found.settings.secret_file == str(tmp_path / "credentials" / "auth-secret")
    assert str(found.origins["auth.secret_file"]).endswith(":2")
    assert loaded("", tmp_path, environ, secret_file="credential:auth-secret").settings == found.settings
    environ["PRESENCED_AUTH__SECRET_FILE"] = "credential:auth-secret"
    assert loaded("", tmp_path, environ).settings == found.settings


@pytest.mark.parametrize(
    ("name", "directory", "fault"),
    [
        ("x", "", "credential:x is for a unit with LoadCredential=x:FILE, and CREDENTIALS_DIRECTORY is not set"),
        ("x", "/nonexistent", "/nonexistent/x does not exist; is LoadCredential=x:FILE in the unit?"),
        ("../x", "/etc", "credential:../x is not the name of a credential"),
        ("..", "/etc", "credential:.. is not the name of a credential"),
        ("", "/etc", "is not the name of a credential"),
    ],
)
def test_credentials_that_are_not_there(tmp_path: Path, name: str, directory: str, fault: str) -> None:
    text = f"[auth]\nsecret_file = 'credential:{name}'\n"
    (said,) = faults(text, tmp_path, {"CREDENTIALS_DIRECTORY": directory})
    assert said.startswith(f"FILE:2: auth.secret_file: {fault}") or fault in said


# --- combinations ------------------------------------------------------------------------------------------------


def test_combinations_are_named_by_what_the_reader_used(tmp_path: Path) -> None:
    text = "[listen]\naddress = '0.0.0.0:5250'\ntls_cert = '/c'\n"
    text += "[http]\naddress = '0.0.0.0:5250'\n[drain]\nspread = '1m'\n"
    environ = {"PRESENCED_AUTH__SECRET_FILE": "/s", "PRESENCED_ADMIN__GROUP": "no-such-group"}
    assert faults(text, tmp_path, environ, dev=True) == [
        "--dev believes every name, so auth.secret_file (PRESENCED_AUTH__SECRET_FILE) would be ignored; "
        "give one of the two",
        "--dev believes every name, so it allows only loopback addresses, but listen.address (FILE:2) is on 0.0.0.0; "
        "listen on 127.0.0.1:PORT, or give a secret file instead",
        "listen.tls_cert (FILE:3) and listen.tls_key (--tls-key) go together; listen.tls_key is missing",
        "drain.timeout (default) is 20s and would cut off what drain.spread (FILE:7) spreads over 1m; make it at "
        "least as long",
        "admin.group (PRESENCED_ADMIN__GROUP): this machine has no group 'no-such-group'; make it or name another",
        "http.address (FILE:5) is the address that listen.address (FILE:2) has; give one of them another port",
        "--dev believes every name, also at /ws and /v1, so it allows only loopback addresses, but http.address "
        "(FILE:5) is on 0.0.0.0; give it 127.0.0.1:PORT, or set http.websocket and http.api to false",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls = true", "http.tls (FILE:2) needs a certificate"),
        (
            "origins = 'app.example.org'",
            "http.origins (FILE:2): 'app.example.org' is no origin; write it such",
        ),
        ("origins = 'https://a.example/app'", "http.origins (FILE:2): 'https://a.example/app' is no origin"),
        (
            "trusted_proxies = '10.0.0.0/8, proxy'",
            "http.trusted_proxies (FILE:2): 'proxy' is no address and no n",
        ),
    ],
)
def test_what_the_doors_need(text: str, said: str, tmp_path: Path) -> None:
    found = faults(f"[http]\n{text}\n", tmp_path, {}, dev=True)
    assert len(found) == 1 and found[0].startswith(said)


def test_origins_and_proxies_that_are_well_formed(tmp_path: Path) -> None:
    text = "[http]\norigins = 'https://app.example.org, http://localhost:8080/, *'\n"
    assert not faults(text + "trusted_proxies = '10.0.0.0/8, 2001:db8::1'\n", tmp_path, {}, dev=True)


def test_what_is_at_fault_itself_is_not_judged_once_more(tmp_path: Path) -> None:
    """A secret file that was named badly is not a missing identity as well."""
    for text in (
        "[auth]\nsecret_file = 3",
        "[auth]\nsecretfile = '/s'",
        "[aut]\nsecret_file = '/s'",
        "secret_file='/s'",
    ):
        assert len(faults(text, tmp_path)) == 1
    assert len(faults("", tmp_path, {"PRESENCED_AUTH__SECRETFILE": "/s"})) == 1
    (said,) = faults("", tmp_path)
    assert said.startswith("no setting says how to check who a client is")


def test_combinations_that_can_work(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    text = f"{DEV}[admin]\ngroup = '{group}'\n[drain]\nspread = '20s'\n[listen]\naddress = '[::1]:0'\n"
    assert loaded(text + "[http]\naddress = '[::1]:0'\n", tmp_path).settings.admin_group == group


# --- reloading ---------------------------------------------------------------------------------------------------


def test_a_configuration_is_read_again_from_the_same_places(tmp_path: Path) -> None:
    path = written(tmp_path / "f.toml", DEV + "[change]\nburst = 2\n")
    flags, environ = {"grace": 7}, {"PRESENCED_LOG__LEVEL": "debug"}
    configuration = Configuration(flags, environ, path)
    assert configuration.path == ""
    first = configuration.load()
    assert configuration.path == path
    # What others do to their own later is not the daemon's.
    flags.clear()
    environ.clear()
    written(tmp_path / "f.toml", DEV + "[change]\nburst = 3\n")
    second = configuration.load()
    assert (first.settings.change_burst, second.settings.change_burst) == (2, 3)
    assert (second.settings.grace_ms, second.settings.log_level) == (7, "debug")
    written(tmp_path / "f.toml", "[")
    with pytest.raises(SettingsError):
        configuration.load()


def test_what_differs_and_what_it_takes() -> None:
    old = Settings(secret_file="/s", idle=("mobile=1m,0",))
    new = msgspec.structs.replace(
        old, log_level="debug", rate=0, secret_file="/t", listen="0.0.0.0:1", idle=(), snapshot_log_bytes=1 << 20
    )
    assert difference(old, old) == ([], [])
    assert difference(old, new) == (
        [
            ("listen.rate", "auto", "0"),
            ("auth.secret_file", "/s", "/t"),
            ("storage.snapshot_log", "64MiB", "1MiB"),
            ("log.level", "info", "debug"),
        ],
        [("listen.address", "127.0.0.1:5250", "0.0.0.0:1"), ("presence.idle", "mobile=1m,0", '""')],
    )


def test_beginning_with_tls_or_with_a_secret_takes_a_restart() -> None:
    plain, tls = Settings(secret_file="/s"), Settings(secret_file="/s", tls_cert="/c", tls_key="/k")
    assert [name for name, *_ in difference(plain, tls).needs_restart] == ["listen.tls_cert", "listen.tls_key"]
    other = msgspec.structs.replace(tls, tls_cert="/d")
    assert difference(tls, other) == ([("listen.tls_cert", "/c", "/d")], [])
    assert difference(Settings(dev=True), plain) == (
        [],
        [("auth.dev", "true", "false"), ("auth.secret_file", '""', "/s")],
    )


def test_loading_takes_no_time_to_speak_of(tmp_path: Path) -> None:
    """A reload happens beside a loop that serves. Calls are counted, about 10 million of which make a second: a file of
    many lines costs no more of them than its own lines, and that is few."""
    for number in range(5):
        written(tmp_path / "f.d" / f"{number}.toml", f"[change]\nburst = {number + 1}\n")

    def calls(lines: int) -> int:
        path = written(tmp_path / "f.toml", DEV + "# a comment line\n" * lines)
        count = 0

        def see(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(see)
        try:
            take_survey({}, {}, path)
        finally:
            sys.setprofile(None)
        return count

    short, long = calls(500), calls(5_000)
    assert short < 10_000
    assert long - short < 4_500 * 10, "a few for each line, however many there are"


def test_a_configuration_keeps_which_files_it_is_from(tmp_path: Path) -> None:
    """Those of the last time that nothing was wrong."""
    path, drop_in = written(tmp_path / "f.toml", DEV), written(tmp_path / "f.d" / "x.toml", "")
    configuration = Configuration({}, {}, path)
    assert (configuration.path, configuration.files) == ("", ())
    configuration.load()
    assert (configuration.path, configuration.files) == (path, (path, drop_in))
    os.unlink(drop_in)
    written(tmp_path / "f.toml", DEV + "[listen]\nrate = -1\n")
    assert len(configuration.survey().faults) == 1
    with pytest.raises(SettingsError):
        configuration.load()
    assert configuration.files == (path, drop_in)
    written(tmp_path / "f.toml", DEV)
    configuration.load()
    assert configuration.files == (path,)


@pytest.mark.parametrize(
    ("text", "environ", "options", "grounds"),
    [
        ("", {}, {}, ("everyone",)),
        ('[visibility]\ngrounds = ["contacts"]\n', {}, {}, ("contacts",)),
        ("", {"PRESENCED_VISIBILITY__GROUNDS": "channels, domain"}, {}, ("channels", "domain")),
        ('[visibility]\ngrounds = ["contacts"]\n', {}, {"see": "channels,contacts"}, ("channels", "contacts")),
    ],
)
def test_who_may_see_whom(
    text: str, environ: dict[str, str], options: dict[str, str], grounds: tuple[str, ...], tmp_path: Path
) -> None:
    settings = loaded(DEV + text, tmp_path, environ, **options).settings
    assert settings.grounds == settings.policy().grounds == grounds
