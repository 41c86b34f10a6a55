"""The door of `/v1/`: reads who asks and what, has it answered, and writes the answer (protocol.md, section 25)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from presenced.errors import PresenceError, RequestError
from presenced.http.api.bodies import read_body
from presenced.http.api.callers import caller_of
from presenced.http.api.codes import refusal, refusal_of, refused_page
from presenced.http.api.followers import Followings
from presenced.http.api.openapi import document
from presenced.http.api.pool import LinkPool, MakeMessage, SharedLink
from presenced.http.api.requests import INSTEAD_OF, REQUESTS, ApiRequest
from presenced.http.door import Call, answer_failure
from presenced.http.page import JSON, HttpPage
from presenced.server.active_settings import ActiveSettings
from presenced.server.admission import Admission
from presenced.server.report import Report
from presenced.wire.messages import (
    Attach,
    Detach,
    DeviceList,
    Error,
    GetDevices,
)

PREFIX = "/v1/"
EVENTS = "events"
OPENAPI = "openapi.json"


class ApiDoor:
    """Answers for all requests over HTTP."""

    is_for_pages = True
    refused_page = staticmethod(refused_page)

    def __init__(
        self, admission: Admission, active: ActiveSettings, report: Report, is_starting: Callable[[], bool]
    ) -> None:
        """While `is_starting`, nothing but the description is answered."""
        self.pool = LinkPool(admission, active)
        self.followings = Followings(admission, active)
        self._active = active
        self._report = report
        self._is_starting = is_starting
        self._document = b""
        """The description, once it is made."""
        self._describing: list[Call] = []
        """Those who wait for it."""
        self._special: dict[str, Callable[[Call, ApiRequest, SharedLink, Any], None]] = {
            "attach": self._attach,
            "beat": self._beat,
            "await_status": self._await,
            "acknowledge": self._acknowledge,
        }

    def takes(self, path: str) -> bool:
        """Whether it is below `/v1`."""
        return path.startswith(PREFIX) or path == "/v1"

    def is_health(self, path: str) -> bool:
        """Nothing here is about health."""
        return False

    def open(self, call: Call) -> None:
        """Answer a call, now or when the reply to it comes."""
        name = call.request.path.removeprefix(PREFIX)
        try:
            request = REQUESTS.get(name)
            if request is not None:
                self._ask(call, request)
            elif name == EVENTS:
                self._follow(call)
            elif name == OPENAPI:
                self._describe(call)
            else:
                call.answer(_unknown(name, call.request.path))
        except PresenceError as error:
            call.answer(refusal_of(error))

    # --- requests ---------------------------------------------------------------------------------------------

    def _ask(self, call: Call, request: ApiRequest) -> None:
        asked = call.request
        if asked.method != "POST":
            call.answer(_bad_method(asked.method, "POST"))
            return
        self._require_started()
        link = self.pool.link_of(caller_of(asked.headers, is_dev=self._active.settings.dev))
        # Before the body is read: that alone takes time which nobody would have paid for.
        link.require_credit()
        try:
            said = read_body(request, asked.body, asked.headers)
        except PresenceError:
            link.charge(len(asked.body))
            raise
        special = self._special.get(request.name)
        if special is not None:
            special(call, request, link, said)
        else:
            link.ask(partial(request.message, said), partial(self._answer, call, request))

    def _attach(self, call: Call, request: ApiRequest, link: SharedLink, said: Any) -> None:
        ref = link.next_ref()
        link.ask(
            lambda request_id: request.message(said, request_id, ref),
            partial(self._answer, call, request),
            before=_renewal(said) if said.as_was else None,
        )

    def _beat(self, call: Call, request: ApiRequest, link: SharedLink, said: Any) -> None:
        """A device that is gone stays gone: what was let go must not come back by a beat that was under way."""

        def known(reply: Any) -> None:
            if isinstance(reply, Error) and reply.code != "memory_low":
                self._answer(call, request, reply)
            elif isinstance(reply, DeviceList) and not _is_live(reply, said.device):
                sentence = f"{said.user}/{said.device} is gone, or was never attached; attach it"
                call.answer(refusal("no_such_device", sentence))
            elif not link.is_open:
                call.answer(refusal("going_away", "the link of this request has ended"))
            else:
                self._keep(call, request, link, said)

        link.ask(lambda request_id: GetDevices(request_id, said.user), known)

    def _keep(self, call: Call, request: ApiRequest, link: SharedLink, said: Any) -> None:
        def attach(request_id: int) -> Attach:
            return Attach(
                request_id,
                link.next_ref(),
                said.user,
                said.device,
                idle_ms=said.idle_ms,
                as_was=True,
                only_free=True,
                for_at_most_ms=said.for_at_most_ms,
                focus=said.focus,
            )

        try:
            link.ask(attach, partial(self._answer, call, request), before=_renewal(said))
        except PresenceError as error:
            call.answer(refusal_of(error))

    def _await(self, call: Call, request: ApiRequest, link: SharedLink, said: Any) -> None:
        give_up = link.ask_later(partial(request.message, said), partial(self._answer, call, request))
        call.on_gone(give_up)

    def _acknowledge(self, call: Call, request: ApiRequest, link: SharedLink, said: Any) -> None:
        self.followings.acknowledge(link.user, said.name, said.id, partial(self._answer, call, request))

    def _answer(self, call: Call, request: ApiRequest, reply: Any) -> None:
        """Tell the reply. An exception reaches this call alone: replies to others come in the same go."""
        try:
            if type(reply) is Error:
                call.answer(refusal(reply.code, reply.message, reply.retry_ms))
            else:
                call.answer(HttpPage(200, JSON, request.tell(reply)))
        except Exception:
            answer_failure(call, self._report, refused_page)

    # --- what is no request -----------------------------------------------------------------------------------

    def _follow(self, call: Call) -> None:
        if call.request.method != "GET":
            call.answer(_bad_method(call.request.method, "GET"))
            return
        self._require_started()
        self.followings.open(call, caller_of(call.request.headers, is_dev=self._active.settings.dev))

    def _describe(self, call: Call) -> None:
        if call.request.method not in ("GET", "HEAD"):
            call.answer(_bad_method(call.request.method, "GET", "HEAD"))
            return
        if self._document:
            call.answer(HttpPage(200, JSON, self._document))
            return
        self._describing.append(call)
        if len(self._describing) == 1:
            # It takes as long as some hundred requests, once; so others do not wait for it.
            loop = asyncio.get_running_loop()
            threading.Thread(target=_describe, args=(loop, self._described), name="openapi", daemon=True).start()

    def _described(self, document: bytes, error: Exception | None) -> None:
        calls, self._describing = self._describing, []
        self._document = document
        for call in calls:
            try:
                if error is not None:
                    raise error
                call.answer(HttpPage(200, JSON, document))
            except Exception:
                answer_failure(call, self._report, refused_page)

    def _require_started(self) -> None:
        if self._is_starting():
            raise RequestError("starting", "the server is starting and reads its saved state", retry_ms=1_000)


def _describe(loop: asyncio.AbstractEventLoop, described: Callable[[bytes, Exception | None], object]) -> None:
    """On a thread of its own: make the description, and hand it over, or what went wrong."""
    made, failure = b"", None
    try:
        made = document()
    except Exception as error:
        failure = error
    # RuntimeError: the loop is closed, so that nobody waits for it.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(described, made, failure)


def _renewal(said: Any) -> MakeMessage:
    """What lets the lease of a device begin anew, if this client has it, before an attach that leaves the device as it
    was, and with it the lease: its connection is lost for as long as the new lease, and the attach takes it back at
    once. Nobody is told of what is over within a turn."""
    return lambda request_id: Detach(request_id, 0, True, said.user, said.device, said.for_at_most_ms)


def _is_live(devices: DeviceList, name: str) -> bool:
    return any(one.device == name and one.state != "gone" for one in devices.devices)


def _bad_method(method: str, *known: str) -> HttpPage:
    sentence = f"this path takes {' and '.join(known)}, and not {method[:20]}"
    return refusal("bad_method", sentence, 0, ("Allow", ", ".join(known)))


def _unknown(name: str, path: str) -> HttpPage:
    if way := INSTEAD_OF.get(name):
        return refusal("not_found", f"{name} is no request over HTTP: {way}")
    return refusal("not_found", f"there is no {path[:44]}; {PREFIX}{OPENAPI} lists what there is")
