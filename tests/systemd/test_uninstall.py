"""What `make uninstall` takes away. No test behind this one has the service: the file is the last by its name."""

from __future__ import annotations

from tests.systemd.service import CONFIG, STATE, UNIT, Service


def test_uninstall_leaves_what_is_the_operators(service: Service) -> None:
    service.run("systemctl", "enable", "presenced@two", "presenced@three", UNIT, "presenced.socket")
    links = "find /etc/systemd/system -name 'presenced*' -type l"
    assert len(service.sh(links).split()) == 4
    said = service.install("uninstall")
    assert service.sh(links).split() == [], "systemd would look for what is gone at every boot"
    for kept in ("/etc/presenced", STATE):
        assert kept in said
    service.run("test", "-s", "/etc/presenced/secret", "-a", "-s", CONFIG, "-a", "-e", f"{STATE}/MANIFEST")
    assert service.show(UNIT, "LoadState") == "not-found"
    left = service.sh("find /usr/local -name '*presence*' -not -path '/usr/local/lib/python*'; pgrep -x presenced || :")
    assert left.split() == []
