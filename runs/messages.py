"""Owns the two message modes of the wire: tuples of chunk and metadata, and messages that grow."""

from collections.abc import Callable
from typing import Any, Protocol

from langchain_core.messages import BaseMessage, BaseMessageChunk, message_chunk_to_message
from langgraph.pregel._messages import StreamMessagesHandler, graph_namespace
from langgraph.pregel.protocol import StreamChunk


class Log(Protocol):
    """How an event is logged."""

    def __call__(self, name: str, value: Any, /) -> None: ...


class MessageModes:
    """Turns LangGraph's message stream into `messages` (messages-tuple) and `messages/*` (messages) events."""

    def __init__(self, modes: frozenset[str], log: Log) -> None:
        self._tuples = "messages-tuple" in modes
        self._growing = "messages" in modes
        self._log = log
        self._messages: dict[str, BaseMessage] = {}

    @property
    def wanted(self) -> bool:
        """Whether the run asked for either mode."""
        return self._tuples or self._growing

    def take(self, ns: tuple[str, ...], value: tuple[BaseMessage, dict[str, Any]]) -> None:
        """Log one chunk, or one whole message, that a node at `ns` emitted."""
        message, metadata = value
        if self._tuples:
            self._log("|".join(("messages", *ns)), (message, metadata))
        if self._growing:
            self._grow("|".join(ns), message, metadata)

    def _grow(self, path: str, message: BaseMessage, metadata: dict[str, Any]) -> None:
        suffix = f"|{path}" if path else ""
        key = str(message.id)
        known = self._messages.get(key)
        if known is None:
            self._log(f"messages/metadata{suffix}", {key: {"metadata": metadata}})
        if not isinstance(message, BaseMessageChunk):
            self._messages[key] = message
            self._log(f"messages/complete{suffix}", [message])
            return
        grown = known + message if isinstance(known, BaseMessageChunk) else message
        self._messages[key] = grown
        self._log(f"messages/partial{suffix}", [message_chunk_to_message(grown)])


class MessageListener(StreamMessagesHandler):
    """Hears a run's messages; without `subgraphs` only those of the root graph, as if the others were never said.

    LangGraph drops a listener that says so itself, unless it made it. And a message that a subgraph's node streamed
    must not count as told: the root's node that returns it tells it whole then.
    """

    def __init__(self, take: Callable[[StreamChunk], None], subgraphs: bool) -> None:
        super().__init__(take, True)
        self._hears_subgraphs = subgraphs

    def on_chat_model_start(self, *args: Any, metadata: dict[str, Any] | None = None, **options: Any) -> Any:
        """A model is called."""
        if self._hears(metadata):
            super().on_chat_model_start(*args, metadata=metadata, **options)

    def on_chain_start(self, *args: Any, metadata: dict[str, Any] | None = None, **options: Any) -> Any:
        """A node is called, or something within it."""
        if self._hears(metadata):
            super().on_chain_start(*args, metadata=metadata, **options)

    def _hears(self, metadata: dict[str, Any] | None) -> bool:
        if self._hears_subgraphs or not metadata or "langgraph_checkpoint_ns" not in metadata:
            return True
        return not graph_namespace(metadata)
