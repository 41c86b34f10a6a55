"""Traces and metrics of a client, as OpenTelemetry's own SDK collects them, and what it costs not to have them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import presenced
import presenced.sync
from presenced.client.client_base import connection_of
from presenced.client.protocol.pending_requests import REQUESTS
from presenced.client.telemetry import METHODS, NAMES, CallTelemetry, ClientFacts, ClientTelemetry, default
from presenced.errors import PresenceError
from presenced.opentelemetry import OpenTelemetry, instrument, uninstrument
from presenced.wire.messages import (
    ClientMessage,
    Error,
    Get,
    Goodbye,
    Presence,
    Record,
    ServerMessage,
    SetDevice,
    SetStatus,
)
from tests.client.fake_server import FakeServer, fake_server
from tests.support import REPOSITORY
from tests.support.in_process import InProcess
from tests.support.until import eventually


class Collected:
    """What the SDK has been given."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = OpenTelemetry(self.tracer_provider, self.meter_provider)
        self.tracer = self.tracer_provider.get_tracer("the application")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def points(self, name: str) -> list[Any]:
        """The points of one metric."""
        data = self.reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]

    def total(self, name: str) -> int | float:
        return sum(point.value for point in self.points(name))


@pytest.fixture
def collected() -> Iterator[Collected]:
    collected = Collected()
    yield collected
    collected.tracer_provider.shutdown()
    collected.meter_provider.shutdown()


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


def connect(server: FakeServer, collected: Collected, **options: Any) -> Any:
    return presenced.connect(server.url(), telemetry=collected.telemetry, **options)


class TestRequests:
    async def test_each_is_a_span_below_the_callers_own(self, server: FakeServer, collected: Collected) -> None:
        async with connect(server, collected) as me:
            with collected.tracer.start_as_current_span("answer the visitor") as own:
                await me.get_status("bob")
        span = collected.span("presenced/get_status")
        assert span.kind is SpanKind.CLIENT and span.status.status_code is StatusCode.UNSET
        assert span.parent is not None and span.parent.span_id == own.get_span_context().span_id
        assert dict(span.attributes or {}) == {
            "rpc.system.name": "presenced",
            "rpc.method": "presenced/get_status",
            "server.address": "127.0.0.1",
            "server.port": server.port,
            "user.id": "alice",
            "presenced.device": "laptop",
            "presenced.role": "user",
        }

    async def test_a_refused_one_has_the_servers_code(self, server: FakeServer, collected: Collected) -> None:
        def refusing(message: ClientMessage) -> list[ServerMessage]:
            return [Error(message.id, "forbidden", "no")] if isinstance(message, Get) else server.plainly(message)

        server.answer = refusing
        async with connect(server, collected) as me:
            with pytest.raises(presenced.RequestError):
                await me.get_status("bob")
        span = collected.span("presenced/get_status")
        assert span.status.status_code is StatusCode.ERROR and span.status.description == "no"
        attributes = dict(span.attributes or {})
        assert (attributes["error.type"], attributes["rpc.response.status_code"]) == ("forbidden", "forbidden")

    async def test_one_without_a_reply_and_one_that_is_given_up_end_as_well(
        self, server: FakeServer, collected: Collected
    ) -> None:
        server.answer = lambda message: [] if isinstance(message, Get) else server.plainly(message)
        async with connect(server, collected, request_timeout_s=0.01) as me:
            with pytest.raises(presenced.RequestTimeout):
                await me.get_status("bob")
        async with connect(server, collected) as me:
            asking = asyncio.ensure_future(me.get_status("bob"))
            await server.until(lambda: len(server.of(Get)) == 2)
            asking.cancel()
            await asyncio.wait({asking})
        asked = [span for span in collected.spans if span.name == "presenced/get_status"]
        kinds = [(span.attributes or {})["error.type"] for span in asked]
        assert kinds == ["timeout", "asyncio.exceptions.CancelledError"]
        assert collected.total("presenced.client.active_requests") == 0

    async def test_metrics_count_and_time_them(self, server: FakeServer, collected: Collected) -> None:
        asked = asyncio.Event()

        def waiting(message: ClientMessage) -> list[ServerMessage]:
            if isinstance(message, Get) and message.users == ["slow"]:
                asked.set()
                return []
            return server.plainly(message)

        server.answer = waiting
        async with connect(server, collected) as me:
            for _ in range(3):
                await me.get_status("bob")
            slow = asyncio.ensure_future(me.get_status("slow"))
            await asked.wait()
            assert collected.total("presenced.client.active_requests") == 1
            slow.cancel()
            await asyncio.wait({slow})
        good, bad = collected.points("rpc.client.call.duration")
        assert dict(good.attributes) == {
            "rpc.system.name": "presenced",
            "rpc.method": "presenced/get_status",
            "server.address": "127.0.0.1",
            "server.port": server.port,
        }
        assert (good.count, bad.count) == (3, 1) and good.explicit_bounds[0] == 0.005 and 0 < good.sum < 60
        assert bad.attributes["error.type"] == "asyncio.exceptions.CancelledError"

    async def test_two_in_one_write_are_two(self, server: FakeServer, collected: Collected) -> None:
        async with connect(server, collected) as me:
            await me.set_device(status="dnd", name="on the desk")
            await me.set_status("dnd")
        names = [span.name for span in collected.spans]
        assert names == ["presenced.connect", "presenced/set_device", "presenced/set_status"]

    async def test_of_several_each_has_its_own_end(self, server: FakeServer, collected: Collected) -> None:
        def refusing(message: ClientMessage) -> list[ServerMessage]:
            return [Error(message.id, "bad_text", "no")] if isinstance(message, SetDevice) else server.plainly(message)

        server.answer = refusing
        async with connect(server, collected) as me:
            with pytest.raises(presenced.RequestError):
                await connection_of(me).exchange.do_together(SetDevice, SetStatus)
        assert collected.span("presenced/set_device").status.status_code is StatusCode.ERROR
        assert collected.span("presenced/set_status").status.status_code is StatusCode.UNSET

    def test_names_are_those_of_the_methods(self) -> None:
        """Where a message is named otherwise than the method, METHODS says so."""
        known = {*dir(presenced.Client), *dir(presenced.Service)}
        for message, method in METHODS.items():
            assert method in known, f"{message}: there is no method {method}"
        assert NAMES[Get] == "get_status" and len({NAMES[kind] for kind in REQUESTS}) == len(REQUESTS)


class TestLinks:
    async def test_the_time_without_a_link_is_a_span_linked_with_what_has_waited(
        self, server: FakeServer, collected: Collected
    ) -> None:
        held = True

        def holding(message: ClientMessage) -> list[ServerMessage]:
            return [] if isinstance(message, Get) and held else server.plainly(message)

        server.answer = holding
        async with connect(server, collected) as me:
            asking = asyncio.ensure_future(me.get_status("bob"))
            await server.until(lambda: server.of(Get))
            assert collected.total("presenced.client.links") == 1
            held = False
            server.refusals = [Goodbye("busy", "full")]
            server.link.drop()
            await asking
            assert collected.total("presenced.client.links") == 1
        absence, asked = collected.span("presenced.reconnect"), collected.span("presenced/get_status")
        assert [link.context.span_id for link in absence.links] == [asked.context.span_id]
        assert absence.parent is None and (absence.attributes or {})["error.type"] == "link_lost"
        assert [(event.name, dict(event.attributes or {})) for event in absence.events] == [
            ("presenced.attempt.failed", {"error.type": "busy"})
        ]
        assert [event.name for event in asked.events] == ["presenced.link.lost", "presenced.link.opened"]
        reconnects = collected.points("presenced.client.reconnects")
        tries = {point.attributes.get("error.type"): point.value for point in reconnects}
        assert tries == {None: 1, "busy": 1}
        assert collected.total("presenced.client.links") == 0

    async def test_an_absence_that_does_not_end_well_fails(self, server: FakeServer, collected: Collected) -> None:
        async with connect(server, collected) as me:
            server.refusals = [Goodbye("replaced", "by another")]
            server.link.drop()
            await eventually(lambda: me.state == "closed")
        absence = collected.span("presenced.reconnect")
        assert absence.status.status_code is StatusCode.ERROR and (absence.attributes or {})["error.type"] == "replaced"

    async def test_a_first_link_that_cannot_be_opened_is_a_failed_span(
        self, server: FakeServer, collected: Collected
    ) -> None:
        server.refusals = [Goodbye("bad_token", "no")]
        with collected.tracer.start_as_current_span("log in") as own, pytest.raises(presenced.AuthError):
            await connect(server, collected)
        span = collected.span("presenced.connect")
        assert span.parent is not None and span.parent.span_id == own.get_span_context().span_id
        assert span.status.status_code is StatusCode.ERROR and (span.attributes or {})["error.type"] == "bad_token"
        assert collected.total("presenced.client.links") == 0

    async def test_callbacks_are_no_children_of_whoever_has_connected(
        self, server: FakeServer, collected: Collected
    ) -> None:
        """The loop calls them in the context of the moment of connecting, whose span has ended long before."""
        seen: list[bool] = []
        with collected.tracer.start_as_current_span("start up") as own:
            me = await connect(server, collected)
            assert trace.get_current_span() is own
        me.on_state(lambda state, reason: seen.append(trace.get_current_span().get_span_context().is_valid))
        server.link.drop()
        await eventually(lambda: len(seen) == 2)
        assert seen[:2] == [False, False]
        await me.close()

    async def test_pushes_and_watched_users_are_counted(self, server: FakeServer, collected: Collected) -> None:
        async with connect(server, collected) as me:
            async with me.watch("bob", "carol") as watch:
                assert collected.total("presenced.client.watched_users") == 2
                for version in (5, 6, 7):
                    server.link.send(Presence(Record("bob", "away", "", "", 1, 0, "", version)))
                await eventually(lambda: watch.records["bob"].version == 7)
                await watch.add("dave")
                assert collected.total("presenced.client.watched_users") == 3
            assert collected.total("presenced.client.watched_users") == 0
            left_open = me.watch("erin")
            await left_open.start()
        (pushed,) = collected.points("presenced.client.pushes")
        assert (pushed.value, pushed.attributes["presenced.message"]) == (3, "presence")
        assert collected.total("presenced.client.watched_users") == 0


class TestSwitchingOn:
    async def test_instrument_measures_the_clients_of_the_process(
        self, server: FakeServer, collected: Collected
    ) -> None:
        instrument(tracer_provider=collected.tracer_provider, meter_provider=collected.meter_provider)
        try:
            async with presenced.connect(server.url()) as me:
                uninstrument()
                await me.get_status("bob")
        finally:
            uninstrument()
        async with presenced.connect(server.url()) as me:
            await me.get_status("carol")
        assert [span.name for span in collected.spans] == ["presenced.connect", "presenced/get_status"]
        assert default.telemetry is None

    def test_a_blocking_client_and_a_service_are_measured_as_well(self, collected: Collected) -> None:
        with InProcess() as running, collected.tracer.start_as_current_span("a script") as own:
            url = f"presence://backend@127.0.0.1:{running.port}"
            with presenced.sync.connect_service(url, telemetry=collected.telemetry) as p:
                p.attach_many([presenced.Attachment("u1", "web"), presenced.Attachment("u2", "web")])
                assert p.get_status("u1").status == "online"
        names = [span.name for span in collected.spans]
        assert names[:3] == ["presenced.connect", "presenced/attach", "presenced/get_status"]
        for span in collected.spans[:3]:
            assert span.parent is not None and span.parent.span_id == own.get_span_context().span_id
            assert (span.attributes or {})["presenced.role"] == "service"

    async def test_another_implementation_is_as_good(self, server: FakeServer) -> None:
        class Noted:
            """Measures one client, by writing down what it is told."""

            def __init__(self) -> None:
                self.told: list[object] = []

            def client(self, facts: ClientFacts) -> ClientTelemetry:
                self.told.append((facts.server_port, facts.user, facts.device, facts.role))
                return self

            def connecting(self) -> AbstractContextManager[None]:
                return nullcontext()

            def call_begun(self, method: str) -> CallTelemetry:
                self.told.append(method)
                return NotedCall(self.told)

            def link_opened(self) -> None:
                self.told.append("opened")

            def link_lost(self, reason: PresenceError) -> None:
                self.told.append(reason.code)

            def attempt_failed(self, reason: PresenceError) -> None:
                self.told.append(reason.code)

            def ended(self, reason: PresenceError | None) -> None:
                self.told.append(reason)

            def pushed(self, kind: str) -> None:
                self.told.append(kind)

            def users_watched(self, number: int) -> None:
                self.told.append(number)

        class NotedCall:
            def __init__(self, told: list[object]) -> None:
                self.told = told

            def ended(self, error: BaseException | None) -> None:
                self.told.append(error)

        noted = Noted()
        async with presenced.connect(server.url(), telemetry=noted) as me:
            await me.get_status("bob")
            server.link.drop()
            await eventually(lambda: me.state == "connected" and len(server.links) == 2)
        assert noted.told == [
            (server.port, "alice", "laptop", "user"), "opened", "get_status", None, "link_lost", "opened", None, 0
        ]  # fmt: skip


class TestSwitchedOff:
    async def test_a_request_and_a_push_call_nothing_of_it(self, server: FakeServer) -> None:
        """What is not called makes no object. The other half, comparisons with None, has no call to be seen by."""
        called: set[str] = set()

        def profile(frame: Any, event: str, argument: object) -> None:
            if event == "call":
                called.add(frame.f_globals.get("__name__", ""))

        async with presenced.connect(server.url()) as me, me.watch("bob") as watch:
            sys.setprofile(profile)
            try:
                await me.get_status("bob")
                server.link.send(Presence(Record("bob", "away", "", "", 1, 0, "", 5)))
                await eventually(lambda: watch.records["bob"].version == 5)
            finally:
                sys.setprofile(None)
        assert "presenced.client.exchange" in called and "presenced.client.protocol.watched_users" in called
        measuring = ("presenced.client.telemetry", "presenced.client.frame_log", "presenced.client.log_fields")
        assert not [name for name in called if name.startswith(measuring) or "opentelemetry" in name]

    def test_nothing_of_opentelemetry_is_imported(self) -> None:
        code = """
import sys, presenced, presenced.sync
presenced.Client, presenced.sync.connect
print([name for name in sys.modules if "opentelemetry" in name])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
        assert done.stdout == "[]\n"

    def test_without_the_package_the_error_says_what_to_install(self) -> None:
        code = """
import sys
sys.modules["opentelemetry"] = None
import presenced.opentelemetry
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
        assert "OpenTelemetry is not installed here: pip install 'presenced[otel]'" in done.stderr
