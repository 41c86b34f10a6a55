"""When a certificate ends, as a client would find it: the standard library reads no certificate but a peer's."""

from __future__ import annotations

import ssl
import time
from math import ceil

from presenced.config.settings import SettingsError

SOON_S = 14 * 86_400
"""An end nearer than this is worth a word."""

_ENDED, _NOT_BEGUN = 10, 9
"""X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID (openssl-verification-options(1))."""

_ROUNDS = 8
"""More than a handshake has flights."""


def validity_warning(cert: str, key: str, now_s: float | None = None) -> str:
    """A sentence if the certificate in the file `cert` has ended, ends within two weeks, or has not begun; else "".

    `now_s` stands in for the time of day when the end is judged to be near. Nothing is said of files that cannot be
    used: that is a fault. Takes a few milliseconds: it is a handshake in memory.
    """
    try:
        ends_s = _end_s(cert, key)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _ENDED:
            return f"the certificate {cert} has ended, and clients refuse it; renew it, then reload"
        if error.verify_code == _NOT_BEGUN:
            return f"the certificate {cert} is not valid yet, and clients refuse it; look at this machine's clock"
        return ""
    except (OSError, ValueError, SettingsError):
        return ""
    left_s = ends_s - (time.time() if now_s is None else now_s)
    if left_s > SOON_S:
        return ""
    days = max(1, ceil(left_s / 86_400))
    return f"the certificate {cert} ends within {days} day{'s' if days > 1 else ''}; renew it, then reload"


def _end_s(cert: str, key: str) -> float:
    """The end as seconds of the Unix clock. Raises `ssl.SSLError`, `OSError`, `ValueError`."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # The certificate itself is the one to trust; who signed it is no question here.
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        for side in (one, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ends = (one.getpeercert() or {}).get("notAfter")
    if not isinstance(ends, str):
        raise ValueError(f"{cert} does not say when it ends")
    return ssl.cert_time_to_seconds(ends)
