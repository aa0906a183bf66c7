"""Owns the channels of a graph's own stream transformers (`compile(transformers=...)`), for runs of the event-streaming
protocol: what a transformer pushes to a channel of name N is a custom event of that name, on `custom:N`.

LangGraph's multiplexer makes and wires the transformers; how it forwards is a private name of it: pinned, and covered
by tests. What they project inside the process, and what they hide or change, is nobody's here.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from langgraph.pregel.main import _normalize_stream_transformer_factories
from langgraph.stream._mux import StreamMux
from langgraph.stream._types import StreamTransformer, transformer_requires_async

from threadline.graphs.registry import Graph
from threadline.runs.model import JsonObject

logger = logging.getLogger("threadline.runs")

MAX_WAITING = 10_000  # events that slow transformers have not seen yet; beyond that the run is stopped
_CHANNEL = "custom:"
_MODES = ("values", "updates", "custom", "tasks", "messages", "tools", "checkpoints", "debug")


class _Mux(StreamMux):
    """Hands out what is pushed to named channels, and keeps nothing."""

    def __init__(self, on_item: Callable[[str, Any], None], graph: Graph) -> None:
        self._on_item = on_item
        factories = _normalize_stream_transformer_factories(graph.stream_transformers)
        super().__init__(factories=factories, is_async=True)

    @property
    def transformers(self) -> list[StreamTransformer]:
        """Those of the graph; LangGraph's own have channels that are recorded anyway."""
        return [each for each in self._transformers if not getattr(each, "_native", False)]

    def _forward(self, method: str, item: Any) -> None:
        if method.startswith(_CHANNEL):
            self._on_item(method.removeprefix(_CHANNEL), item)


class Projections:
    """One attempt's transformers, for the length of a block. Whatever one of them raises ends that one, and no run.

    `log` takes the data of a custom event; `on_overflow` is called when transformers that wait for something get too
    far behind.
    """

    def __init__(self, graph: Graph, log: Callable[[JsonObject], None], on_overflow: Callable[[], None]) -> None:
        self._mux = _Mux(lambda name, item: log({"name": name, "payload": item}), graph)
        self._on_overflow = on_overflow
        self._quick = [each for each in self._mux.transformers if not transformer_requires_async(each)]
        self._slow = [each for each in self._mux.transformers if transformer_requires_async(each)]
        self._waiting: asyncio.Queue[Any] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None

    @property
    def modes(self) -> set[str]:
        """The stream modes that the transformers ask for."""
        return {mode for each in self._mux.transformers for mode in each.required_stream_modes}

    def take(self, ns: tuple[str, ...], mode: str, value: Any) -> None:
        """Show the transformers an event before it is logged itself."""
        if mode not in _MODES:
            return
        event = _make_event(ns, mode, value)
        for transformer in list(self._quick):
            try:
                transformer.process(event)
            except Exception as error:  # whatever the project's code raises
                self._quick.remove(transformer)
                _tell(transformer, error)
        if self._slow:
            self._waiting.put_nowait(event)
            if self._waiting.qsize() > MAX_WAITING:
                self._on_overflow()

    async def __aenter__(self) -> "Projections":
        if self._slow:
            self._pump = asyncio.create_task(self._show_for_ever(), name="projections")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is pushed as the transformers end comes before the run's own end. A stopped run ends them at once."""
        try:
            if isinstance(error, Exception):
                await self._mux.afail(error)
            elif error is None:
                await self._catch_up()
                await self._mux.aclose()
        except Exception as raised:  # whatever the project's code raises
            _tell(self, raised)
        finally:
            if self._pump is not None:
                self._pump.cancel()
                await asyncio.gather(self._pump, return_exceptions=True)

    async def _catch_up(self) -> None:
        if self._pump is not None:
            await self._waiting.join()

    async def _show_for_ever(self) -> None:
        while True:
            event = await self._waiting.get()
            for transformer in list(self._slow):
                try:
                    await transformer.aprocess(event)
                except Exception as error:  # whatever the project's code raises
                    self._slow.remove(transformer)
                    _tell(transformer, error)
            self._waiting.task_done()


def _make_event(ns: tuple[str, ...], mode: str, value: Any) -> Any:
    params: dict[str, Any] = {"namespace": list(ns), "timestamp": int(time.time() * 1000), "data": value}
    if mode == "values" and isinstance(value, Mapping) and "__interrupt__" in value:
        params["interrupts"] = tuple(value["__interrupt__"])
        params["data"] = {key: each for key, each in value.items() if key != "__interrupt__"}
    return {"type": "event", "method": mode, "params": params}


def _tell(transformer: object, error: Exception) -> None:
    logger.warning("run.transformer_failed", exc_info=error, extra={"transformer": type(transformer).__name__})
