"""The installed service under a real systemd: what it may do, what it says, how it takes its configuration."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.systemd.service import ADDRESS, CONFIG, PROGRAM, STATE, UNIT, Service, readme

EXPOSURE_MAX = 1.2
EX_CONFIG = 78


def test_install_says_what_to_do_next_and_does_not_start_anything(installed: Service) -> None:
    assert "systemctl enable --now presenced" in installed.said
    assert installed.state_at_first == "inactive"
    assert installed.run("stat", "-c", "%a %U", "/etc/presenced/secret").split() == ["400", "presenced"]
    assert installed.show(UNIT, "LoadState") == "loaded"


def test_it_says_when_it_is_ready_and_how_it_is(service: Service) -> None:
    shown = service.run("systemctl", "status", "--no-pager", UNIT)
    assert "Active: active (running)" in shown
    assert service.show(UNIT, "Type") == "notify"
    assert service.show(UNIT, "StatusText"), "the daemon gave no line for systemctl status"
    service.ping()
    assert "presenced" in service.run("presencectl", "status")


def test_an_operator_without_root_needs_the_group(service: Service) -> None:
    visitor = ("setpriv", "--reuid=65500", "--regid=65500")
    service.run(*visitor, "--clear-groups", "presencectl", "status", status=77)
    service.run(*visitor, "--groups=presenced", "presencectl", "status")


TLS_LINES = 'tls_cert = "/etc/presenced/tls/fullchain.pem"\ntls_key = "/etc/presenced/tls/privkey.pem"'
"""As README says, for the copies that the hook makes."""


OPERATOR = ("setpriv", "--reuid=65500", "--regid=65500", "--groups=operators")


def test_the_log_says_that_it_cannot_know_who_asked(service: Service) -> None:
    after = service.cursor()
    service.run("setpriv", "--reuid=65500", "--regid=65500", "--groups=presenced", "presencectl", "loglevel", "debug")
    service.wait_for(lambda: "unmapped uid (pid " in service.messages(after), "the journal told of the request")
    assert "uid 65534" not in service.messages(after)


def test_a_group_of_operators_by_the_drop_in(service: Service) -> None:
    """Without it `admin.group` ends the start with a sentence that names it; with it everything works but the owner."""
    service.sh("groupadd --force operators")
    service.configure("admin", 'group = "operators"')
    after = service.cursor()
    service.run("systemctl", "restart", UNIT, status=1)
    assert "drop-in admin-group.conf" in service.messages(after), service.messages(after)
    assert service.show(UNIT, "ExecMainStatus") == "77"
    service.drop_in(service.read("/usr/local/share/presenced/drop-ins/admin-group.conf"))
    service.run("systemctl", "reset-failed", UNIT)
    service.run("systemctl", "start", UNIT)
    assert service.run("stat", "-c", "%a %U:%G", "/run/presenced/admin.sock").split() == ["660", "presenced:operators"]
    after = service.cursor()
    service.run(*OPERATOR, "presencectl", "loglevel", "debug")
    service.run("setpriv", "--reuid=65500", "--regid=65500", "--groups=presenced", "presencectl", "status", status=77)
    service.wait_for(lambda: "uid 65500 (pid " in service.messages(after), "the journal told who asked")
    service.ping()
    judged = service.run("systemd-analyze", "security", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged)
    assert found and float(found[1]) <= EXPOSURE_MAX, judged


def test_limits_of_memory_by_the_drop_in(service: Service) -> None:
    """And in the unit's own confinement free memory is given back to the kernel, for which ctypes has to load."""
    assert service.show(UNIT, "OOMPolicy") == "stop"
    tried = "from presenced.server import heap; heap.give_back(); print(bool(heap.malloc_trim()))"
    limits = service.read("/usr/local/share/presenced/drop-ins/memory.conf")
    service.drop_in(f"{limits}ExecStartPre={PROGRAM} -c '{tried}'\n")
    assert (service.show(UNIT, "MemoryHigh"), service.show(UNIT, "MemoryMax")) == (str(920 << 20), str(1 << 30))
    after = service.cursor()
    service.run("systemctl", "restart", UNIT)
    service.ping()
    service.wait_for(lambda: "True" in service.messages(after).splitlines(), "memory could be given back")
    judged = service.run("systemd-analyze", "security", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged)
    assert found and float(found[1]) <= EXPOSURE_MAX, judged


def test_it_has_no_privileges(service: Service) -> None:
    status = dict(re.findall(r"^(\w+):\s+(.*)$", service.read(f"/proc/{service.main_pid(UNIT)}/status"), re.M))
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    uid = service.run("id", "--user", "presenced").strip()
    assert set(status["Uid"].split()) == {uid} != {"0"}


def test_it_sees_and_writes_its_own_state_only(service: Service) -> None:
    assert service.run("stat", "-c", "%a %U:%G", STATE).split() == ["700", "presenced:presenced"]
    assert service.run("stat", "-c", "%a %U:%G", "/run/presenced").split() == ["750", "presenced:presenced"]
    assert service.run("stat", "-c", "%a %G", "/run/presenced/admin.sock").split() == ["660", "presenced"]
    inside = f"nsenter --target {service.main_pid(UNIT)} --mount --root"
    for place in ("/", "/etc", "/etc/presenced", "/usr", "/usr/local/lib/presenced", "/var", "/var/lib", "/sys"):
        # As root, who is held back by nothing but the mount.
        assert "Read-only file system" in service.sh(f"{inside} touch {place}/touched", status=1), place
    assert service.sh(f"{inside} ls -A /home /root").split() == ["/home:", "/root:"]
    assert service.sh(f"{inside} ls /proc/sys", status=2), "more of /proc is there than the processes"


def test_its_exposure_is_small(service: Service) -> None:
    for unit in (UNIT, "presenced@two.service"):
        said = service.run("systemd-analyze", "security", "--no-pager", unit)
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
        assert found and float(found[1]) <= EXPOSURE_MAX, said


def test_the_installed_configuration_is_in_force(service: Service) -> None:
    shown = service.sh(f"presenced config show --config {CONFIG}")
    for line in ('directory = "auto"', 'secret_file = "/etc/presenced/secret"', 'socket = "auto"'):
        assert line in shown
    assert service.sh("presenced config check").endswith("checked as the user presenced\n")
    assert json.loads(service.run("presencectl", "status"))["log"]["directory"] == STATE
    fetch = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:5251/healthz', timeout=5).status)"
    assert service.run("/usr/bin/env", "python3", "-c", fetch).strip() == "200"


def test_the_journal_has_priorities_and_one_entry_for_each_event(service: Service) -> None:
    after = service.cursor()
    service.run("systemctl", "restart", UNIT)
    service.configure("log", 'level = "loud"')
    service.run("systemctl", "reload", UNIT, status=1)
    own = [entry for entry in service.journal(UNIT, after) if entry.get("_COMM") == "presenced"]
    started = [entry for entry in own if entry["MESSAGE"].startswith("presenced ")]
    refused = [entry for entry in own if "log.level" in entry["MESSAGE"]]
    assert [entry["PRIORITY"] for entry in started] == ["6"]
    assert {entry["PRIORITY"] for entry in refused} <= {"3", "4"} and refused
    assert not [entry for entry in own if re.match(r"<\d>|INFO|\d{4}-", entry["MESSAGE"])], "a second prefix"


def test_a_reload_applies_what_it_can_and_says_what_needs_a_restart(service: Service) -> None:
    pid, after = service.main_pid(UNIT), service.cursor()
    service.configure("presence", 'grace = "20s"')
    service.configure("heartbeat", 'interval = "40s"')
    service.run("systemctl", "reload", UNIT)
    said = service.messages(after)
    assert "heartbeat.interval" in said, "it was over before it was done"
    assert "presence.grace" in said and "restart" in said, said
    assert service.show(UNIT, "ActiveState") == "active"
    assert service.main_pid(UNIT) == pid
    service.ping()


def test_a_broken_configuration_is_refused_by_the_reload_and_does_not_loop_at_a_restart(service: Service) -> None:
    pid, after = service.main_pid(UNIT), service.cursor()
    service.configure("presence", 'graze = "20s"')
    service.run("systemctl", "reload", UNIT, status=1)
    assert "graze" in service.messages(after)
    assert service.show(UNIT, "ActiveState") == "active"
    assert service.main_pid(UNIT) == pid
    service.ping()
    assert "the next restart will fail: " in service.run("presencectl", "--text", "doctor", status=1)

    after = service.cursor()
    service.run("systemctl", "restart", UNIT, status=1)
    reasons = [entry for entry in service.journal(UNIT, after) if "graze" in entry["MESSAGE"]]
    assert {entry["PRIORITY"] for entry in reasons} == {"3"}, service.messages(after)
    assert service.show(UNIT, "ActiveState") == "failed"
    assert service.show(UNIT, "ExecMainStatus") == str(EX_CONFIG)
    # A restart would be due after half a second: the unit would be activating, or have counted one.
    assert service.show(UNIT, "SubState") == "failed"
    assert service.show(UNIT, "NRestarts") == "0"


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (f"cp -a {STATE} {STATE}.kept; echo rot >{STATE}/MANIFEST; echo rot >{STATE}/MANIFEST.copy", "65"),
        (f"sed -i 's#^directory = .*#directory = \"/var/lib/elsewhere\"#' {CONFIG}", "73"),
    ],
    ids=["damaged state", "a data directory that the unit does not allow"],
)
def test_what_a_restart_cannot_mend_is_not_tried_again(service: Service, broken: str, status: str) -> None:
    service.run("systemctl", "stop", UNIT)
    service.sh(broken)
    try:
        service.run("systemctl", "start", UNIT, status=1)
        assert service.show(UNIT, "ExecMainStatus") == status, service.messages("")
        assert (service.show(UNIT, "SubState"), service.show(UNIT, "NRestarts")) == ("failed", "0")
    finally:
        service.sh(f"if [ -e {STATE}.kept ]; then rm -rf {STATE}; mv {STATE}.kept {STATE}; fi")


def test_a_port_in_use_is_tried_again(service: Service) -> None:
    service.run("systemctl", "stop", UNIT)
    program = "import socket; s = socket.create_server(('127.0.0.1', 5250)); print('up', flush=True); input()"
    holder = service.popen("python3", "-c", program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == "up\n"
        service.run("systemctl", "start", UNIT, status=1)
    finally:
        holder.communicate("\n", timeout=10)
    service.wait_until_active()
    service.ping()


def test_without_the_secret_it_does_not_start(service: Service) -> None:
    service.run("systemctl", "stop", UNIT)
    service.run("mv", "/etc/presenced/secret", "/etc/presenced/secret.away")
    try:
        service.run("systemctl", "start", UNIT, status=1)
    finally:
        service.run("mv", "/etc/presenced/secret.away", "/etc/presenced/secret")
    service.wait_until_active()


def certificate(serial: int) -> tuple[str, str]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "presenced")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(encoding).decode(), secret.decode()


def test_a_certificate_of_the_group_is_served_and_renewed_by_a_reload(service: Service) -> None:
    """The key is a file of the user presenced; as a credential it would need a restart."""
    shown = (
        "import socket, ssl; context = ssl._create_unverified_context(); "
        "link = context.wrap_socket(socket.create_connection(('127.0.0.1', 5250), 10)); "
        "print(ssl.DER_cert_to_PEM_cert(link.getpeercert(True)))"
    )

    def put(serial: int) -> str:
        cert, key = certificate(serial)
        service.write("/etc/presenced/tls/cert.pem", cert)
        service.write("/etc/presenced/tls/key.pem", key)
        service.sh("cd /etc/presenced/tls; chown presenced key.pem; chmod 400 key.pem")
        return cert

    first = put(1)
    service.configure("listen", 'tls_cert = "/etc/presenced/tls/cert.pem"\ntls_key = "/etc/presenced/tls/key.pem"')
    service.run("systemctl", "restart", UNIT)
    assert service.run(PROGRAM, "-c", shown).strip() == first.strip()
    said = service.sh(
        "presencectl --url presences://alice@127.0.0.1/laptop --ca-file /etc/presenced/tls/cert.pem "
        '--token "$(presenced token --user alice --secret-file /etc/presenced/secret)" ping'
    )
    assert "rtt_ms" in said
    assert "clients are shown" not in service.run("presencectl", "--text", "doctor", status=None)
    second = put(2)
    assert "clients are shown" in service.run("presencectl", "--text", "doctor", status=None)
    after = service.cursor()
    service.run("systemctl", "reload", UNIT)
    assert service.run(PROGRAM, "-c", shown).strip() == second.strip()
    said = service.messages(after)
    assert "reload: listen.tls_cert: another certificate, for 127.0.0.1 until " in said
    assert (
        "reload: the certificate /etc/presenced/tls/cert.pem expires in less than a day; renew it, then reload" in said
    )


def test_a_certificate_of_certbot_by_the_hook_of_the_readme(service: Service) -> None:
    """What certbot leaves is root's alone: the service says so, and the hook gives it a copy."""
    cert, key = certificate(4)
    lineage = "/etc/letsencrypt/live/presence.example.org"
    service.write(f"{lineage}/fullchain.pem", cert)
    service.write(f"{lineage}/privkey.pem", key)
    service.sh(f"chmod 700 /etc/letsencrypt /etc/letsencrypt/live; chmod 600 {lineage}/privkey.pem")
    service.configure("listen", f'tls_cert = "{lineage}/fullchain.pem"\ntls_key = "{lineage}/privkey.pem"')
    refused = "cannot be read by the user presenced, who runs this process; let presenced read the file"
    after = service.cursor()
    service.run("systemctl", "restart", UNIT, status=1)
    assert refused in service.messages(after)
    assert refused in service.run("presenced", "config", "check", status=EX_CONFIG)

    service.sh(f"cp {CONFIG}.installed {CONFIG}; systemctl reset-failed; systemctl restart {UNIT}")
    service.configure("listen", TLS_LINES)
    hook = "/etc/letsencrypt/renewal-hooks/deploy/presenced"
    service.sh(readme("install -D", "renewal-hooks"))
    service.sh(readme("RENEWED_LINEAGE=/etc"))
    service.sh(
        "presencectl --url presences://alice@127.0.0.1/laptop --ca-file /etc/presenced/tls/fullchain.pem "
        '--token "$(presenced token --user alice --secret-file /etc/presenced/secret)" ping'
    )
    cert, key = certificate(5)
    service.write(f"{lineage}/fullchain.pem", cert)
    service.write(f"{lineage}/privkey.pem", key)
    after = service.cursor()
    service.run(hook, env={"RENEWED_LINEAGE": lineage})
    assert "reload: listen.tls_cert: another certificate, for 127.0.0.1 until " in service.messages(after)


def test_the_secret_is_rotated_by_reloads(service: Service) -> None:
    """As README says, line by line; tokens of both hold in between."""
    old = service.read("/etc/presenced/secret")

    def works(token: str) -> bool:
        said = service.run("presencectl", "--url", f"presence://a@{ADDRESS}/b", "--token", token, "ping", status=None)
        return "rtt_ms" in said

    def token() -> str:
        return service.run("presenced", "token", "--user", "a", "--secret-file", "/etc/presenced/secret").strip()

    try:
        of_old = token()
        assert works(of_old)
        after = service.cursor()
        service.sh(readme("secret.new", "urandom"))
        assert "reload: auth.secret_file: 1 key added, another one signs; 2 keys in force" in service.messages(after)
        of_new = token()
        assert works(of_old) and works(of_new)
        after = service.cursor()
        service.sh(readme("secret.new", "head -n 1"))
        assert "reload: auth.secret_file: 1 key removed; 1 key in force" in service.messages(after)
        assert works(of_new) and not works(of_old)
        assert service.run("stat", "-c", "%a %U", "/etc/presenced/secret").split() == ["400", "presenced"]
    finally:
        service.sh(f"printf %s '{old}' >/etc/presenced/secret")


def test_a_refused_reload_is_told_from_its_beginning_to_its_end(service: Service) -> None:
    after = service.cursor()
    service.sh("mkdir -p /etc/presenced/conf.d; echo '[log' >/etc/presenced/conf.d/new.toml")
    try:
        service.run("systemctl", "reload", UNIT, status=1)
        said = service.messages(after)
        assert "reload: /etc/presenced/conf.d/new.toml:1:" in said
        assert "reload: nothing has changed; the old configuration stays in force" in said
        doctor = service.run("presencectl", "--text", "doctor", status=1)
        assert "the next restart will fail: /etc/presenced/conf.d/new.toml:1:" in doctor
    finally:
        service.sh("rm -r /etc/presenced/conf.d")
    service.run("systemctl", "reload", UNIT)
    assert "; the faults of " in service.messages(after)


SAYER = """
import sys, time
from presenced.errors import RequestError
from presenced.sync import connect_service
with connect_service("presence://app@127.0.0.1:5250", token=sys.argv[1]) as app:
    app.attach("alice", "web")
    number, wanted = 0, {"full": True, "well": False}[sys.argv[2]]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        number += 1
        try:
            app.set_text(f"user{number % 50}", f"{number} " + "x" * 480)
            is_full = False
        except RequestError as error:
            assert error.code == "read_only", error
            is_full = True
        if is_full == wanted:
            sys.exit(0)
sys.exit("it did not come about")
"""
"""Says what has to be saved, until it is refused for want of room, or until it is taken."""


def test_a_full_disk_is_told_from_its_beginning_to_its_end(service: Service) -> None:
    def say_until(what: str) -> None:
        token = service.run(
            "presenced", "token", "--user", "app", "--role", "service", "--secret-file", "/etc/presenced/secret"
        )
        service.run(PROGRAM, "-c", SAYER, token.strip(), what, timeout_s=90)

    service.run("systemctl", "stop", UNIT)
    service.sh(f"mv {STATE} {STATE}.kept; mkdir {STATE}; mount -t tmpfs -o size=16m,mode=0700 tmpfs {STATE}")
    try:
        service.sh(f"chown presenced: {STATE}; systemctl start {UNIT}")
        after = service.cursor()
        service.sh(f"dd if=/dev/zero of={STATE}/filler bs=4k", status=1)
        say_until("full")
        assert "nothing can be saved (read_only), presence goes on" in service.messages(after)
        assert "disk" in service.run("presencectl", "--text", "doctor", status=1)
        service.sh(f"rm {STATE}/filler")
        say_until("well")
        service.wait_for(lambda: "all is well again, after " in service.messages(after), "the journal told its end")
        told = [entry for entry in service.journal(UNIT, after) if entry["MESSAGE"].startswith("log: ")]
        assert [entry["PRIORITY"] for entry in told] == ["3", "6"], "one line when it began, one when it ended"
    finally:
        service.sh(f"systemctl stop {UNIT}; umount {STATE}; rmdir {STATE}; mv {STATE}.kept {STATE}")


def test_a_reload_without_an_admin_socket_sends_the_signal(service: Service) -> None:
    service.sh(f"sed -i 's/^socket = .*/socket = \"\"/' {CONFIG}")
    service.run("systemctl", "restart", UNIT)
    service.configure("presence", 'grace = "20s"')
    after = service.cursor()
    service.run("systemctl", "reload", UNIT)
    service.wait_for(lambda: "presence.grace" in service.messages(after), "the reload was done")


def test_an_instance_beside_it_by_the_lines_of_the_readme(service: Service) -> None:
    service.sh(readme("presenced@two"))
    try:
        service.wait_until_active("presenced@two")
        service.ping("127.0.0.1:5260", "/etc/presenced/two.secret")
        service.ping(ADDRESS)
        with pytest.raises(AssertionError, match="token"):
            service.ping("127.0.0.1:5260", "/etc/presenced/secret")
        assert service.run("stat", "-c", "%a %U", "/var/lib/presenced-two").split() == ["700", "presenced"]
        status = json.loads(service.run("presencectl", "--instance", "two", "status"))
        assert status["log"]["directory"] == "/var/lib/presenced-two"
        service.sh("systemctl reload presenced@two")
        service.run("systemctl", "stop", "presenced@two")
        assert "stopped cleanly" in service.run("presenced", "store", "check", "/var/lib/presenced-two")
    finally:
        service.run("systemctl", "disable", "--now", "presenced@two")


def test_a_dynamic_user_will_do(service: Service) -> None:
    service.run("systemctl", "stop", UNIT)
    service.sh("mv /var/lib/presenced /var/lib/presenced.static; userdel presenced")
    service.drop_in(service.read("/usr/local/share/presenced/drop-ins/dynamic-user.conf"))
    try:
        service.run("systemctl", "start", UNIT)
        service.ping()
        assert service.sh("readlink /var/lib/presenced").strip() == "private/presenced"
    finally:
        service.sh(
            "systemctl stop presenced; rm -rf /var/lib/presenced /var/lib/private/presenced; "
            "systemd-sysusers; mv /var/lib/presenced.static /var/lib/presenced; chown -R presenced: /var/lib/presenced"
        )


def test_an_upgrade_keeps_configuration_secret_and_state_and_has_a_way_back(service: Service) -> None:
    service.configure("presence", 'grace = "33s"')
    ours = "sha256sum /etc/presenced/presenced.toml /etc/presenced/secret"
    copy, install, restart = readme("presenced backup", "make install").splitlines()
    service.sh(copy)
    assert install == "git pull && make install"
    before, pid = service.sh(ours), service.main_pid(UNIT)
    said = service.install()
    assert "systemctl restart presenced" in said
    assert service.sh(ours) == before
    assert service.main_pid(UNIT) == pid, "the running daemon was disturbed"
    service.ping()
    service.sh(restart)
    service.ping()
    # And the way back: the copy in the place of the state, with its owner.
    service.sh(
        f"systemctl stop {UNIT}; rm -rf {STATE}; cp -r /var/backups/presenced-before {STATE}; "
        f"chown -R presenced: {STATE}; rm -r /var/backups/presenced-before; systemctl start {UNIT}"
    )
    service.ping()
