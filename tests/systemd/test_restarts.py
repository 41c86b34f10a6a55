"""What a crowd of people sees of restarts, crashes and hangs of the installed service: nothing."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.systemd.service import ADDRESS, CONFIG, PROGRAM, STATE, UNIT, Service

SOCKET = "presenced.socket"

REFUSALS = """
import json, socket, struct, sys, threading
tried = refused = 0
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
while not over.wait(0.002):
    try:
        with socket.create_connection(('127.0.0.1', 5250), timeout=10) as link:
            # Reset at its end, so that no port stays in use.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    except (ConnectionRefusedError, ConnectionResetError):
        refused += 1
    tried += 1
    if tried == 1:
        print("up", flush=True)
print(json.dumps([tried, refused]))
"""
"""Connects again and again until a line comes; tells how often, and how often it was refused."""

IDLE_LINKS = """
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
links = [socket.create_connection(('127.0.0.1', 5250)) for _ in range(4000)]
print("up", flush=True)
input()
"""
"""Four thousand links, over whose closing a drain takes four seconds."""

WAITING = """
import socket
link = socket.create_connection(('127.0.0.1', 5250), timeout=10)
print("up", flush=True)
input()
"""
"""A client that waits to be served."""

LISTENER = """
import ctypes, json, os, socket, sys
pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
pidfd = os.pidfd_open(pid)
for name in os.listdir(f"/proc/{pid}/fd"):
    fd = libc.syscall(438, pidfd, int(name), 0)  # pidfd_getfd
    if fd < 0 or not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
        continue
    one = socket.socket(fileno=fd)
    if one.family == socket.AF_INET and one.getsockname()[1] == 5250 and one.type == socket.SOCK_STREAM:
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            options = {
                "no_delay": one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                "keep_alive": one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                "send_buffer": one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
                "user_timeout": one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            }
            print(json.dumps(options))
"""
"""The options of the socket that a process listens on."""


@pytest.fixture
def quick_watchdog(service: Service) -> Service:
    """The service with a watchdog of 4 s, so that nobody waits for the 20 s it has as installed."""
    assert service.show(UNIT, "WatchdogUSec") == "20s"
    service.drop_in("[Service]\nWatchdogSec=4s\n")
    service.run("systemctl", "restart", UNIT)
    return service


def test_a_restart_shows_nobody_anything(service: Service, tmp_path: Path) -> None:
    with service.crowd(tmp_path) as crowd:
        pid = service.main_pid(UNIT)
        service.run("systemctl", "restart", UNIT)
        assert service.main_pid(UNIT) != pid
        crowd.saw_nothing()


def test_a_restart_with_the_socket_unit_shows_nobody_anything(service: Service, tmp_path: Path) -> None:
    service.run("systemctl", "stop", UNIT)
    service.run("systemctl", "start", SOCKET)
    with service.crowd(tmp_path) as crowd:
        pid = service.main_pid(UNIT)
        service.run("systemctl", "restart", UNIT)
        assert service.main_pid(UNIT) != pid
        crowd.saw_nothing()


def test_a_kill_shows_nobody_anything(service: Service, tmp_path: Path) -> None:
    with service.crowd(tmp_path) as crowd:
        pid, after = service.main_pid(UNIT), service.cursor()
        service.run("kill", "-KILL", str(pid))
        service.wait_until_active(other_than=pid)
        crowd.saw_nothing()
    assert service.show(UNIT, "NRestarts") == "1"
    assert "after an unclean stop" in service.messages(after)


def test_a_hang_is_ended_by_the_watchdog_and_shows_nobody_anything(quick_watchdog: Service, tmp_path: Path) -> None:
    service = quick_watchdog
    with service.crowd(tmp_path) as crowd:
        pid, after = service.main_pid(UNIT), service.cursor()
        service.run("kill", "-STOP", str(pid))
        service.wait_until_active(other_than=pid)
        crowd.saw_nothing()
    said = service.messages(after)
    assert "Watchdog timeout" in said
    assert "Fatal Python error: Aborted" in said, "the stuck stack is not in the journal"
    assert service.show(UNIT, "NRestarts") == "1"


def test_a_healthy_service_outlives_its_watchdog(quick_watchdog: Service) -> None:
    service = quick_watchdog
    pid, began = service.main_pid(UNIT), service.show(UNIT, "WatchdogTimestampMonotonic")
    service.wait_for(
        lambda: int(service.show(UNIT, "WatchdogTimestampMonotonic")) - int(began) > 8_000_000, "signs of life came"
    )
    assert service.main_pid(UNIT) == pid


def test_a_stop_is_clean(service: Service, tmp_path: Path) -> None:
    with service.crowd(tmp_path, 50):
        after = service.cursor()
        service.run("systemctl", "stop", UNIT)
    assert service.show(UNIT, "Result") == "success"
    assert (service.show(UNIT, "ExecMainCode"), service.show(UNIT, "ExecMainStatus")) == ("1", "0")
    said = service.run("presenced", "store", "check", STATE)
    assert "stopped cleanly" in said and said.rstrip().endswith("ok"), said
    worst = min(int(entry["PRIORITY"]) for entry in service.journal(UNIT, after))
    assert worst >= 5, service.messages(after)


def test_asked_twice_it_stops_at_once(service: Service) -> None:
    holder = service.popen(PROGRAM, "-c", IDLE_LINKS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == "up\n"
        pid = service.main_pid(UNIT)
        service.run("kill", "-TERM", str(pid))
        service.wait_for(lambda: "draining" in service.show(UNIT, "StatusText"), "the drain began")
        service.run("kill", "-TERM", str(pid))
        service.wait_for(lambda: service.main_pid(UNIT) == 0, "the process ended")
    finally:
        holder.communicate("\n", timeout=10)
    assert service.show(UNIT, "ExecMainStatus") == str(128 + 15)
    assert (service.show(UNIT, "ActiveState"), service.show(UNIT, "NRestarts")) == ("inactive", "0")


def test_whoever_connects_while_it_is_down_is_served_when_there_is_the_socket_unit(service: Service) -> None:
    service.run("systemctl", "stop", UNIT)
    service.run("systemctl", "start", SOCKET)
    assert service.show(UNIT, "ActiveState") == "inactive"
    service.ping()
    assert service.show(UNIT, "ActiveState") == "active"
    assert ADDRESS in service.run("presencectl", "status")


@pytest.mark.parametrize("with_socket", [True, False], ids=["socket unit", "without"])
def test_the_socket_unit_spares_refusals(service: Service, with_socket: bool) -> None:
    if with_socket:
        service.run("systemctl", "stop", UNIT)
        service.run("systemctl", "start", SOCKET, UNIT)
    knocker = service.popen(PROGRAM, "-c", REFUSALS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert knocker.stdout.readline() == "up\n"
        service.run("systemctl", "restart", UNIT)
        service.ping()
    finally:
        said, _ = knocker.communicate("\n", timeout=20)
    tried, refused = json.loads(said)
    assert tried > 10
    assert refused == 0 if with_socket else refused > 0, (tried, refused)


def test_the_socket_unit_gives_the_socket_that_the_daemon_would_open(service: Service) -> None:
    own = service.run(PROGRAM, "-c", LISTENER, str(service.main_pid(UNIT)))
    service.run("systemctl", "stop", UNIT)
    service.run("systemctl", "start", SOCKET, UNIT)
    passed = service.run(PROGRAM, "-c", LISTENER, str(service.main_pid(UNIT)))
    assert json.loads(own) == json.loads(passed)
    assert re.search(r"Backlog=4096\b", service.run("systemctl", "show", "--property=Backlog", SOCKET))


def test_six_crashes_within_a_minute_and_it_comes_back(service: Service) -> None:
    for _ in range(6):
        pid = service.main_pid(UNIT)
        service.run("kill", "-KILL", str(pid))
        service.wait_until_active(other_than=pid)
    assert service.show(UNIT, "NRestarts") == "6"
    service.ping()


def test_an_address_that_comes_long_after_boot_is_waited_for(service: Service) -> None:
    """The log says of each try what is missing, and at last where it listens."""
    service.configure("listen", 'address = "192.0.2.7:5250"')
    after = service.cursor()
    service.run("systemctl", "restart", UNIT, status=1)
    missing = "cannot listen on 192.0.2.7:5250: this machine does not have that address, or not yet"
    service.wait_for(lambda: service.messages(after).count(missing) >= 7, "it was tried seven times")
    service.run("ip", "address", "add", "192.0.2.7/32", "dev", "lo")
    try:
        service.wait_until_active()
        service.ping("192.0.2.7:5250")
        assert "at presence://192.0.2.7:5250" in service.messages(after)
    finally:
        service.run("ip", "address", "delete", "192.0.2.7/32", "dev", "lo")


def test_a_broken_configuration_under_the_socket_unit_is_no_busy_loop(service: Service) -> None:
    """As long as a client waits, systemd starts it again at once: each takes a second, until it is mended."""
    service.run("systemctl", "stop", UNIT)
    service.configure("presence", 'graze = "20s"')
    service.run("systemctl", "start", SOCKET)
    after = service.cursor()
    waiting = service.popen(PROGRAM, "-c", WAITING, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert waiting.stdout.readline() == "up\n"
        service.wait_for(lambda: service.messages(after).count("graze") >= 7, "it was tried seven times")
        began, *_, ended = [entry for entry in service.journal(UNIT, after) if "graze" in entry["MESSAGE"]][:7]
        took_us = int(ended["__REALTIME_TIMESTAMP"]) - int(began["__REALTIME_TIMESTAMP"])
        assert took_us > 6 * 1_000_000
        assert service.show(SOCKET, "ActiveState") == "active"
        service.sh(f"sed -i '/^graze/d' {CONFIG}")
        service.wait_until_active()
    finally:
        waiting.communicate("\n", timeout=20)
    service.ping()
