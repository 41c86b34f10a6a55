"""The synchronous client, for scripts: the same methods without `await`, on a loop in a thread of its own.

One thread for each connection; its methods may be called from any number of threads. Iterators block until the next
item; `with` ends them at a definite point. Callbacks (`on`, `on_state`, `on_own`, `on_contact`) are called one after
the other in another thread: they may take their time and may call the connection. A token function has a thread of its
own as well.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar

from presenced.client import forks
from presenced.client.client import Client
from presenced.client.client_base import ConnectedClient, connection_of
from presenced.client.connector import Connecting, open_client
from presenced.client.loop_thread import LoopThread, new_thread
from presenced.client.pages import Page
from presenced.client.service import Service
from presenced.client.streams import Stream
from presenced.client.worker import StateRelay, awaited

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B")
C = TypeVar("C", bound=ConnectedClient)

_TAKE_CALLBACKS = frozenset({"on", "on_contact", "on_own", "on_state", "on_taken"})
_PAGE_CALLBACKS = ("is_there", "on_renamed")


class Blocking(Generic[C]):
    """A connected client, as `presenced.Client` or `presenced.Service` but without `await`."""

    def __init__(self, client: C, thread: LoopThread) -> None:
        self._client = client
        self._thread = thread

    def __repr__(self) -> str:
        return f"<presenced.sync {self._client!r}>"

    def __del__(self) -> None:
        thread: LoopThread | None = self.__dict__.get("_thread")
        if thread is None or thread.is_forked or thread.is_stopping or not connection_of(self._client).is_open:
            return
        shown = repr(self)
        thread.abandon(self._client)
        warnings.warn(f"unclosed {shown}: use `with`, or `close`", ResourceWarning, 2, source=self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        kind = getattr(type(self._client), name, None)
        if not callable(kind):
            # A property, or the ordinary error for what is not there.
            return self._thread.do(_soon(getattr, self._client, name))
        method = getattr(self._client, name)

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in _TAKE_CALLBACKS:
                args, kwargs = self._with_callback(method, args, kwargs)
            for each in _PAGE_CALLBACKS:
                if kwargs.get(each) is not None:
                    kwargs[each] = _Using(self, awaited(self._thread.callbacks, kwargs[each]))
            result = self._thread.do(_soon(method, *args, **kwargs))
            if isinstance(result, Page):
                return BlockingPage(result, self._thread, self)
            if isinstance(result, Stream) or inspect.isasyncgen(result):
                return BlockingIterator(result, self._thread, self)
            # The function that ends a callback has to run where the callback does.
            return functools.partial(self._run, result) if inspect.isfunction(result) else result

        return call

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._client) if not name.startswith("_")]

    def close(self, *, bye: bool = True) -> None:
        """As `close` of the client; its threads end, a callback that is under way within a second or by itself. Does
        nothing the second time."""
        if self._thread.is_forked:
            raise forks.error()
        if self._thread.is_stopping:
            return
        try:
            self._thread.do(lambda: self._client.close(bye=bye))
        finally:
            self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(bye=exc_type is None or not issubclass(exc_type, Exception))

    def _with_callback(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with the callback as one that the worker runs, and that keeps this client in use."""
        bound = inspect.signature(method).bind(*args, **kwargs)
        callback, thread = bound.arguments["callback"], self._thread
        if method.__name__ == "on_state":
            called: Callable[..., Any] = StateRelay(thread.callbacks, thread.loop, callback)
        else:
            called = awaited(thread.callbacks, callback)
        bound.arguments["callback"] = _Using(self, called)
        return bound.args, bound.kwargs

    def _run(self, function: Callable[[], Any]) -> Any:
        return self._thread.do(_soon(function))


class BlockingClient(Blocking[Client]):
    """A user's device without `await`; made by `presenced.sync.connect`."""


class BlockingService(Blocking[Service]):
    """A backend's link without `await`; made by `presenced.sync.connect_service`."""


class _Using:
    """A callback of a blocking client, which is in use as long as this is."""

    def __init__(self, client: Blocking[Any], called: Callable[..., Any]) -> None:
        self._client = client
        self._called = called

    def __call__(self, *args: Any) -> Any:
        return self._called(*args)


class BlockingIterator(Generic[T]):
    """A watch, or the events, without `await`: iterate it, `close` it, look at what else it has (`records`, ...)."""

    def __init__(self, stream: Any, thread: LoopThread, client: Blocking[Any]) -> None:
        self._stream: AsyncIterator[T] = stream
        self._thread = thread
        self._client = client  # In use as long as it is iterated.

    def __repr__(self) -> str:
        return f"<presenced.sync {self._stream!r}>"

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return self._thread.do(self._stream.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._thread.do(_soon(getattr, self._stream, name))
        if not inspect.ismethod(value):
            return value
        return lambda *args, **kwargs: self._thread.do(_soon(value, *args, **kwargs))

    def close(self) -> None:
        """End it. Does nothing the second time."""
        self._thread.do(_soon(getattr(self._stream, "aclose")))  # noqa: B009

    def __enter__(self) -> Self:
        if isinstance(self._stream, Stream):
            self._thread.do(self._stream.start)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class BlockingPage:
    """An open page without `await`. What its callbacks are given is the page of the client's own thread."""

    def __init__(self, page: Page, thread: LoopThread, client: Blocking[Any]) -> None:
        self._page = page
        self._thread = thread
        self._client = client  # In use as long as it is open.

    def __repr__(self) -> str:
        return f"<presenced.sync {self._page!r}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._thread.do(_soon(getattr, self._page, name))
        if not inspect.ismethod(value):
            return value
        return lambda *args, **kwargs: self._thread.do(_soon(value, *args, **kwargs))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        self.close(lost=exc_type is not None)


def blocking(connect: Callable[P, Connecting[C]], kind: Callable[[C, LoopThread], B]) -> Callable[P, B]:
    """`connect` without `await`: the same arguments, and what it returns is connected."""

    @functools.wraps(connect)
    def connected(*args: P.args, **options: P.kwargs) -> B:
        thread = new_thread()
        try:
            if callable(options.get("token")):
                # A function that asks another service for a token would delay every caller who waits for an answer.
                options["token"] = awaited(thread.tokens, options["token"])  # type: ignore[arg-type]
            return kind(thread.do(functools.partial(open_client, connect(*args, **options))), thread)
        except BaseException:
            thread.stop()
            raise

    name, returned = connect.__name__, getattr(kind, "__name__", "")
    connected.__module__ = "presenced.sync"
    connected.__annotations__ = connect.__annotations__ | {"return": returned}
    connected.__signature__ = inspect.signature(connect).replace(return_annotation=returned)  # type: ignore[attr-defined]
    connected.__doc__ = f"As `presenced.{name}`, but for `with {name}(url)` and without `await`:\n\n{connect.__doc__}"
    return connected


def _soon(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], Awaitable[Any]]:
    """A function of the client's, plain or async, to be run in its thread."""

    async def work() -> Any:
        result = function(*args, **kwargs)
        return await result if inspect.iscoroutine(result) else result

    return work
