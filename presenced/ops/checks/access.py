"""Checks of access: who can reach the server, under which name, and who can read the traffic."""

from __future__ import annotations

from urllib.parse import urlsplit

from presenced.config.hosts import is_loopback
from presenced.ops.checks.finding import Patient, Said


def encryption(patient: Patient) -> Said:
    """Is what goes over the network encrypted?"""
    settings = patient.settings
    schemes = ("presence://", "http://") if settings.http_websocket or settings.http_api else ("presence://",)
    bare = [url for url in patient.status.listeners if url.startswith(schemes) and not is_private(url)]
    if bare:
        advice = (
            "set listen.tls_cert and listen.tls_key (and http.tls), or listen on 127.0.0.1 behind a proxy that "
            "terminates TLS"
        )
        yield (
            "warning",
            f"{', '.join(bare)} is reachable from other machines without TLS: tokens can be read in transit",
            advice,
        )
    else:
        yield "ok", "no address is reachable from other machines without TLS", ""


def identity(patient: Patient) -> Said:
    """Does the server check who a client is?"""
    if not patient.status.dev:
        yield "ok", "tokens prove who a client is", ""
        return
    is_open = not all(is_private(url) for url in patient.status.listeners if url.startswith("presence"))
    what = "the server is in development mode and believes every name" + (
        ", also from other machines" if is_open else ""
    )
    yield (
        "problem" if is_open else "warning",
        what,
        "set auth.secret_file or auth.keys, and remove auth.dev, before anybody relies on this server",
    )


def visibility(patient: Patient) -> Said:
    """Does every user see every other, without anybody having wanted it?"""
    grounds = patient.settings.grounds
    if "everyone" not in grounds:
        said = ", ".join(grounds) or "what a token grants"
        yield "ok", f"a user may see another by {said} (visibility.grounds)", ""
        return
    is_open = not all(is_private(url) for url in patient.status.listeners if url.startswith("presence"))
    if patient.settings.dev or patient.facts.grounds_chosen or not is_open:
        yield "ok", "every user may see every other (visibility.grounds)", ""
        return
    yield (
        "warning",
        "every user who reaches this server may see every other, and nobody has chosen that",
        'set visibility.grounds to ["contacts"], or to ["everyone"] if all users know each other, as in a company',
    )


def certificate(patient: Patient) -> Said:
    """Do clients accept the certificate, and for how long?"""
    if not patient.settings.tls_cert:
        yield "ok", "no certificate is used", ""
    elif patient.facts.certificate:
        what, _, advice = patient.facts.certificate.rpartition("; ")
        yield "problem" if "refuse" in what else "warning", what, advice
    else:
        said = patient.facts.certificate_said or "readable only by OpenSSL, so its end is unknown"
        yield "ok", f"the certificate {patient.settings.tls_cert} is {said}", ""
    if patient.facts.certificate_waits:
        what = f"{patient.settings.tls_cert} holds another certificate than the one that clients are shown"
        yield "warning", what, "run `systemctl reload presenced` or `presencectl reload`"


def secret(patient: Patient) -> Said:
    """Who can make tokens?"""
    path, mode = patient.settings.secret_file, patient.facts.secret_mode
    if patient.settings.dev or not path:
        yield "ok", "no secret file is used", ""
    elif mode & 0o007:
        yield (
            "problem",
            f"every account can read the secret file {path} (mode {mode:04o}) and make tokens",
            f"chmod 0600 {path}",
        )
    else:
        yield "ok", f"the secret file {path} has mode {mode:04o}", ""


def http(patient: Patient) -> Said:
    """Who can read the metrics?"""
    settings = patient.settings
    address, is_for_all = settings.http, settings.http_pages == "everyone"
    if not address:
        yield "ok", "metrics are not served", ""
    elif not is_for_all and not settings.http_trusted_proxies and is_private(f"http://{address}"):
        yield "ok", f"metrics on {address} are for this machine, and for whoever a proxy on it asks for", ""
    elif not is_for_all:
        yield "ok", f"metrics on {address} are for clients on this machine alone", ""
    elif not is_private(f"http://{address}"):
        advice = (
            "set http.pages to loopback, or http.address to 127.0.0.1:PORT, or let a firewall admit only the machines "
            "that collect metrics"
        )
        yield "warning", f"other machines can read metrics and health on {address} without a password", advice
    elif settings.http_trusted_proxies:
        advice = "set http.pages to loopback, or let the proxy pass on /ws, /v1/ and /client/ alone"
        yield "warning", f"whoever reaches the proxy before {address} can read metrics through it", advice
    else:
        yield "ok", f"metrics are on {address}", ""


def admin_socket(patient: Patient) -> Said:
    """Who may stop the daemon?"""
    facts = patient.facts
    if not facts.socket_path:
        yield "ok", "there is no admin socket", ""
    elif facts.socket_mode & 0o002:
        advice = "set admin.mode to 0660, and admin.group to the group of the operators"
        yield "problem", f"every user of this machine may stop the daemon through {facts.socket_path}", advice
    else:
        yield "ok", f"the admin socket {facts.socket_path} has mode {facts.socket_mode:o}", ""


def is_private(url: str) -> bool:
    """Whether only this machine can reach the address of `url`. The path of a Unix socket counts as private."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return is_loopback(host) if host is not None else not parts.netloc
