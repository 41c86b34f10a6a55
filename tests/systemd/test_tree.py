"""What `make install` puts where, with DESTDIR: needs no root and no running systemd."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.systemd.container import REPOSITORY

PREFIX = "/opt/presence"
INSTALL_S = 240
EXPOSURE_MAX = 12
"""In tenths, as systemd-analyze counts."""

UNITS = ("presenced.service", "presenced@.service", "presenced.socket")
PLACE = f"{PREFIX}/lib/presenced"
UNITS_PLACE = f"{PREFIX}/lib/systemd/system"


def make(target: str, destination: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a target of the Makefile into a tree."""
    choices = {"DESTDIR": str(destination), "PREFIX": PREFIX, **variables}
    command = ["make", "-C", str(REPOSITORY), target, *(f"{name}={value}" for name, value in choices.items())]
    return subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed tree, not to be changed."""
    for program in ("make", "systemd-analyze"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (on Debian: apt install make systemd)")
    destination = tmp_path_factory.mktemp("tree")
    made = make("install", destination)
    assert made.returncode == 0, made.stdout + made.stderr
    return destination


@pytest.fixture
def units(tree: Path, tmp_path: Path) -> list[str]:
    """The installed units, as they would be if the tree were the root: their programs are looked for."""
    found = []
    for name in UNITS:
        text = (tree / UNITS_PLACE.lstrip("/") / name).read_text()
        unit = tmp_path / name.replace("@", "@two")
        unit.write_text(text.replace(PREFIX, f"{tree}{PREFIX}"))
        found.append(str(unit))
    return found


def inside(tree: Path, path: str) -> Path:
    return tree / path.lstrip("/")


def copy_of(tree: Path, copy: Path) -> None:
    """A second tree of the same files: hard links, since an installation replaces files and changes none."""
    shutil.copytree(tree, copy, symlinks=True, copy_function=os.link)


def names(tree: Path) -> set[str]:
    return {f"/{path.relative_to(tree)}" for path in tree.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_systemd_finds_no_fault_with_the_units(units: list[str]) -> None:
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    about = [line for line in (verified.stdout + verified.stderr).splitlines() if "presenced" in line]
    assert (verified.returncode, about) == (0, [])


def test_the_exposure_of_the_services_is_small(units: list[str]) -> None:
    for unit in units[:2]:
        judged = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", unit],
            capture_output=True,
            text=True,
        )
        assert judged.returncode == 0, judged.stdout


def test_the_exposure_with_the_drop_in_for_another_group_is_as_small(units: list[str]) -> None:
    """The tool reads no drop-ins of a file; what comes last in a unit has the same effect."""
    drop_in = (REPOSITORY / "systemd" / "drop-ins" / "admin-group.conf").read_text()
    assert "PrivateUsers=no" in drop_in
    unit = Path(units[0])
    unit.write_text(unit.read_text() + drop_in)
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
    )
    assert judged.returncode == 0, judged.stdout


def test_systemd_finds_no_fault_with_a_node(units: list[str], tree: Path, tmp_path: Path) -> None:
    """The drop-in as it stands, beside the template: its programs are those of the tree."""
    drop_in = inside(tree, f"{PREFIX}/share/presenced/drop-ins/node.conf").read_text()
    place = tmp_path / "presenced@.service.d"
    place.mkdir()
    (place / "node.conf").write_text(drop_in.replace(PREFIX, f"{tree}{PREFIX}"))
    node = tmp_path / "presenced@.service"
    Path(units[1]).rename(node)
    (tmp_path / "presenced@1.service").symlink_to(node)
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "presenced@1.service")], capture_output=True, text=True
    )
    about = [line for line in (verified.stdout + verified.stderr).splitlines() if "presenced" in line]
    assert (verified.returncode, about) == (0, [])


def test_the_options_of_a_node_are_known(tree: Path) -> None:
    from presenced.cli.daemon import main
    from presenced.config.keys import BY_ENV

    drop_in = inside(tree, f"{PREFIX}/share/presenced/drop-ins/node.conf").read_text()
    command = re.findall(r"^ExecStart=(.+)$", drop_in, re.M)[-1].split()
    assert command[0] == f"{PREFIX}/bin/presenced"
    given = main.commands["serve"].make_context("serve", command[2:]).params
    assert (given["shared"], given["node"], given["config"]) == (True, "%H-%i", "/etc/presenced/presenced.toml")
    assert [name for name in re.findall(r"^Environment=(\w+)=", drop_in, re.M)] == [
        key.env for key in BY_ENV.values() if key.name == "http.own_address"
    ]


def test_every_path_in_the_units_is_there(tree: Path) -> None:
    for name in UNITS:
        text = inside(tree, f"{UNITS_PLACE}/{name}").read_text()
        assert "@PREFIX@" not in text
        said = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        paths = [path for path in re.findall(r"(?<![\w/])(/(?:opt|etc)/[\w./%-]+)", said) if "%" not in path]
        assert any(path.startswith(PREFIX) for path in paths), name
        for path in paths:
            assert inside(tree, path).exists(), (name, path)


def test_the_instance_differs_from_the_service_in_its_names_alone() -> None:
    one, template = ((REPOSITORY / "systemd" / name).read_text() for name in UNITS[:2])
    for text, instead in (
        ("server %i", "server"),
        ("%i.toml", "presenced.toml"),
        ("%i.secret", "secret"),
        ("presenced-%i", "presenced"),
    ):
        assert text in template
        template = template.replace(text, instead)
    head, unit, body = template.partition("[Unit]")
    assert all(line.startswith("#") for line in head.splitlines())
    assert unit + body == one


def test_the_service_waits_longer_for_the_drain_than_the_drain_takes() -> None:
    from presenced.config import Settings

    found = re.search(r"^TimeoutStopSec=(\d+)s$", (REPOSITORY / "systemd" / UNITS[0]).read_text(), re.M)
    assert found and int(found[1]) * 1000 >= Settings().drain_timeout_ms + 5_000


def test_nothing_names_the_tree_that_it_was_built_in(tree: Path) -> None:
    for path in tree.rglob("*"):
        if path.is_symlink():
            assert str(tree) not in os.readlink(path), path
        elif path.is_file():
            content = path.read_bytes()
            assert str(tree).encode() not in content, path
            assert b".presenced.new" not in content, path
            assert not path.name == "direct_url.json" or "presenced" not in path.parent.name, path


def test_the_commands_run_from_where_they_are_to_be(tree: Path) -> None:
    for command in ("presenced", "presencectl"):
        link = inside(tree, f"{PREFIX}/bin/{command}")
        assert link.resolve() == inside(tree, f"{PLACE}/bin/{command}").resolve()
        assert link.read_text().startswith(f"#!{PLACE}/bin/python")
    assert not list(inside(tree, PLACE).rglob("pip")), "the installed program needs no pip"
    package = next(inside(tree, PLACE).glob("lib/python*/site-packages/presenced"))
    assert package.is_dir() and not package.is_symlink()
    for source in package.rglob("*.py"):
        assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), f"{source} is not compiled"


def test_the_service_can_read_the_program_and_nobody_the_secret(tree: Path) -> None:
    for path in inside(tree, PREFIX).rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & stat.S_IROTH, path
    assert stat.S_IMODE(inside(tree, "/etc/presenced/secret").stat().st_mode) == 0o600
    assert len(inside(tree, "/etc/presenced/secret").read_bytes()) >= 64


@pytest.mark.parametrize("in_unit", [True, False], ids=["in the unit", "outside"])
def test_the_installed_configuration_is_accepted(tree: Path, tmp_path: Path, in_unit: bool) -> None:
    text = inside(tree, "/etc/presenced/presenced.toml").read_text()
    (tmp_path / "presenced.toml").write_text(text.replace('"/etc/', f'"{tree}/etc/'))
    checked = subprocess.run(
        [inside(tree, f"{PLACE}/bin/python"), "-m", "presenced", "config", "check"]
        + ["--config", tmp_path / "presenced.toml"],
        capture_output=True,
        text=True,
        env={"STATE_DIRECTORY": "/var/lib/presenced"} if in_unit else {},
    )
    assert checked.returncode == 0, checked.stderr
    assert f"state in {'/var/lib/presenced' if in_unit else 'auto'} (always)" in checked.stdout
    given = [line for line in text.splitlines() if line and not line.startswith(("#", "["))]
    assert given == [
        'secret_file = "/etc/presenced/secret"',
        'grounds = ["contacts"]',
        'directory = "auto"',
        'socket = "auto"',
        'address = "127.0.0.1:5251"',
    ]


def test_the_second_time_configuration_and_secret_stay(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    copy_of(tree, copy)
    ours = {}
    for name in ("presenced.toml", "secret"):
        path = inside(copy, f"/etc/presenced/{name}")
        ours[path] = f"# ours\n{path.read_text()}"
        path.unlink()
        path.write_text(ours[path])
    stale = next(inside(copy, PLACE).glob("lib/python*/site-packages/presenced")) / "of_the_version_before.py"
    stale.write_text("")
    made = make("install", copy)
    assert made.returncode == 0, made.stderr
    assert {path: path.read_text() for path in ours} == ours
    assert not stale.exists()
    assert names(copy) == names(tree)


def test_an_upgrade_that_fails_leaves_the_installed_one(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    copy_of(tree, copy)
    broken = tmp_path / "source"
    shutil.copytree(REPOSITORY / "systemd", broken / "systemd")
    (broken / "pyproject.toml").write_text("this is not TOML")
    made = subprocess.run(
        [broken / "systemd" / "install.sh"],
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        env={**os.environ, "DESTDIR": str(copy), "PREFIX": PREFIX},
    )
    assert made.returncode != 0
    assert names(copy) == names(tree)


def test_uninstall_takes_all_but_configuration_and_secret(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    copy_of(tree, copy)
    made = make("uninstall", copy)
    assert made.returncode == 0, made.stderr
    assert names(copy) == {"/etc/presenced/presenced.toml", "/etc/presenced/secret"}
    assert "/etc/presenced" in made.stdout
    assert "/var/lib/presenced" not in made.stdout and "user" not in made.stdout, "what is not there does not stay"


STAND_IN = f"""#!{sys.executable}
import sys
sys.{{}} = {{!r}}
exec(sys.argv[2])
"""
"""An interpreter that takes itself for another."""


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"PREFIX": "/home/me/presence"}, "is in a home directory"),
        ({"PREFIX": "/root"}, "is in a home directory"),
        ({"PREFIX": "presence"}, "must be an absolute path"),
        ({"PREFIX": "/opt/my presence"}, "white space"),
        ({"PYTHON": "/nowhere/python3"}, "/nowhere/python3"),
    ],
    ids=lambda value: "-".join(value.values()).replace("/", "_") if isinstance(value, dict) else "",
)
def test_what_could_not_work_is_refused_before_anything_is_written(
    tmp_path: Path, variables: dict[str, str], sentence: str
) -> None:
    destination = tmp_path / "tree"
    made = make("install", destination, **variables)
    assert made.returncode != 0
    assert sentence in made.stderr, made.stderr
    assert not destination.exists()


@pytest.mark.parametrize(
    ("attribute", "value", "sentence"),
    [
        ("version_info", (3, 10, 14), "3.11 or newer is needed"),
        ("_base_executable", "/root/.pyenv/bin/python3", "is in a home directory, where the service cannot see it"),
    ],
    ids=["old", "in a home"],
)
def test_a_python_that_the_service_could_not_use_is_refused(
    tmp_path: Path, attribute: str, value: object, sentence: str
) -> None:
    python = tmp_path / "python3"
    python.write_text(STAND_IN.format(attribute, value))
    python.chmod(0o755)
    made = make("install", tmp_path / "tree", PYTHON=str(python))
    assert made.returncode != 0
    assert sentence in made.stderr, made.stderr
    assert not (tmp_path / "tree").exists()
