"""Traces and metrics of the client by OpenTelemetry: `pip install 'presenced[otel]'`, and `instrument()` once.

A span is a request that a caller waits for, or the time without a link. Names are those of OpenTelemetry's semantic
conventions for RPC where these have one, and begin with `presenced.` elsewhere. Only the API of OpenTelemetry is
needed; which SDK and exporter stand behind it, the application chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from presenced import __version__
from presenced.client.telemetry import ClientFacts, default
from presenced.errors import PresenceError, RequestError

try:
    from opentelemetry import context as otel_context, metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode
except ModuleNotFoundError as error:
    sentence = "OpenTelemetry is not installed here: pip install 'presenced[otel]'"
    raise ModuleNotFoundError(sentence, name=error.name) from error

SCOPE: Final = "presenced"
SYSTEM: Final = "presenced"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.40.0"

DURATION_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The bounds that the conventions recommend for the duration of a call."""

Attributes = dict[str, str | int]


class OpenTelemetry:
    """Measures the clients that are given it: `connect(..., telemetry=OpenTelemetry())`; see `Telemetry`.

    The providers are by default those that OpenTelemetry has for the process.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self.tracer = trace.get_tracer(SCOPE, __version__, tracer_provider, SCHEMA_URL)
        self.meters = _Meters(metrics.get_meter(SCOPE, __version__, meter_provider, SCHEMA_URL))

    def client(self, facts: ClientFacts) -> _MeasuredClient:
        """See `Telemetry`."""
        return _MeasuredClient(self.tracer, self.meters, facts)


def instrument(
    *, tracer_provider: trace.TracerProvider | None = None, meter_provider: metrics.MeterProvider | None = None
) -> OpenTelemetry:
    """Measure every client that connects from now on in this process, unless it is given a telemetry of its own."""
    made = OpenTelemetry(tracer_provider, meter_provider)
    default.set(made)
    return made


def uninstrument() -> None:
    """End that. Clients that are connected already are measured to their end."""
    default.set(None)


class _Meters:
    """The instruments."""

    def __init__(self, meter: metrics.Meter) -> None:
        self.duration = meter.create_histogram(
            "rpc.client.call.duration",
            "s",
            "Duration of a request, from the call to its reply",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S,
        )
        self.active = meter.create_up_down_counter(
            "presenced.client.active_requests", "{request}", "Requests that wait for their reply"
        )
        self.links = meter.create_up_down_counter("presenced.client.links", "{link}", "Clients with a link")
        self.reconnects = meter.create_counter(
            "presenced.client.reconnects", "{attempt}", "Attempts to come back; those that failed have an error.type"
        )
        self.pushes = meter.create_counter(
            "presenced.client.pushes", "{message}", "Messages of the server that no request has asked for"
        )
        self.watched = meter.create_up_down_counter(
            "presenced.client.watched_users", "{user}", "Users who are watched by name"
        )


class _MeasuredClient:
    """See `ClientTelemetry`."""

    def __init__(self, tracer: trace.Tracer, meters: _Meters, facts: ClientFacts) -> None:
        self._tracer = tracer
        self._meters = meters
        self._server: Attributes = {
            "rpc.system.name": SYSTEM,
            "server.address": facts.server_address,
            "server.port": facts.server_port,
        }
        self._who: Attributes = {"user.id": facts.user, "presenced.role": facts.role}
        if facts.device:
            self._who["presenced.device"] = facts.device
        self._calls: dict[_MeasuredCall, None] = {}
        self._absence: Span | None = None
        """The span of the time without a link."""
        self._is_linked = False
        self._watched = 0

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """A span of its own. What the client does later is no child of it, nor of what its caller does at this moment:
        the client lives on when these have ended."""
        span = self._tracer.start_span("presenced.connect", kind=SpanKind.CLIENT, attributes=self._server | self._who)
        token = otel_context.attach(trace.set_span_in_context(INVALID_SPAN))
        try:
            yield
        except BaseException as error:
            _fail(span, error)
            raise
        finally:
            otel_context.detach(token)
            span.end()

    def call_begun(self, method: str) -> _MeasuredCall:
        """A span, child of the caller's."""
        attributes = self._server | {"rpc.method": f"{SYSTEM}/{method}"}
        span = self._tracer.start_span(f"{SYSTEM}/{method}", kind=SpanKind.CLIENT, attributes=attributes | self._who)
        return _MeasuredCall(span, attributes, self._meters, self._calls)

    def link_opened(self) -> None:
        """The end of the absence, and an event in each span that has waited for it."""
        self._set_linked(True)
        if self._absence is None:
            return
        self._meters.reconnects.add(1, self._server)
        for call in self._calls:
            call.span.add_event("presenced.link.opened")
        self._absence.end()
        self._absence = None

    def link_lost(self, reason: PresenceError) -> None:
        """A span of the absence, which is linked with the requests that wait; and an event in each of these."""
        self._set_linked(False)
        waiting = [Link(call.span.get_span_context()) for call in self._calls]
        attributes = self._server | self._who | {"error.type": reason.code}
        for call in self._calls:
            call.span.add_event("presenced.link.lost", {"error.type": reason.code})
        # It has no parent: nobody in particular has asked for it.
        self._absence = self._tracer.start_span(
            "presenced.reconnect", Context(), SpanKind.CLIENT, attributes=attributes, links=waiting
        )

    def attempt_failed(self, reason: PresenceError) -> None:
        """An event in the span of the absence."""
        self._meters.reconnects.add(1, self._server | {"error.type": reason.code})
        if self._absence is not None:
            self._absence.add_event("presenced.attempt.failed", {"error.type": reason.code})

    def ended(self, reason: PresenceError | None) -> None:
        """An absence that is not over fails."""
        self._set_linked(False)
        if self._absence is not None:
            if reason is not None:
                _fail(self._absence, reason)
            self._absence.end()
            self._absence = None

    def pushed(self, kind: str) -> None:
        """One more."""
        self._meters.pushes.add(1, self._server | {"presenced.message": kind})

    def users_watched(self, number: int) -> None:
        """The counter takes differences."""
        if number != self._watched:
            self._meters.watched.add(number - self._watched, self._server)
            self._watched = number

    def _set_linked(self, is_linked: bool) -> None:
        if is_linked != self._is_linked:
            self._is_linked = is_linked
            self._meters.links.add(1 if is_linked else -1, self._server)


class _MeasuredCall:
    """See `CallTelemetry`."""

    def __init__(self, span: Span, attributes: Attributes, meters: _Meters, calls: dict[_MeasuredCall, None]) -> None:
        self.span = span
        self._attributes = attributes
        self._meters = meters
        self._calls = calls
        self._begun_s = perf_counter()
        calls[self] = None
        meters.active.add(1, attributes)

    def ended(self, error: BaseException | None) -> None:
        """The end of the span."""
        self._calls.pop(self, None)
        self._meters.active.add(-1, self._attributes)
        attributes = self._attributes
        if error is not None:
            attributes = attributes | _fail(self.span, error)
        took_s = perf_counter() - self._begun_s
        self._meters.duration.record(took_s, attributes, trace.set_span_in_context(self.span))
        self.span.end()


def _fail(span: Span, error: BaseException) -> Attributes:
    """Mark the span as failed; returns the attributes that say why."""
    kind = type(error)
    code = error.code if isinstance(error, PresenceError) else f"{kind.__module__}.{kind.__qualname__}"
    attributes: Attributes = {"error.type": code}
    if isinstance(error, RequestError):
        attributes["rpc.response.status_code"] = code
    span.set_attributes(attributes)
    span.set_status(Status(StatusCode.ERROR, str(error)))
    return attributes
