"""Owns how the event-streaming protocol's bodies read in the OpenAPI document; they are checked where they are used."""

from typing import Any

from pydantic import Field

from threadline.api.schemas import Body


class ProtocolCommand(Body):
    """A command. Methods: run.start, run.cancel, input.respond, input.inject, agent.getTree, state.get,
    state.listCheckpoints, state.fork; over a WebSocket also subscription.subscribe, .unsubscribe and .reconnect.
    """

    id: int = Field(description="Comes back in the answer.")
    method: str
    params: dict[str, Any] = Field(default_factory=dict)


class EventStreamRequest(Body):
    """Which events: of these channels, at or below these namespaces, behind this number."""

    channels: list[str] = Field(min_length=1, description="Of these channels; `custom:<name>` names a custom one.")
    namespaces: list[list[str]] | None = Field(default=None, description="At or below these; everywhere by default.")
    depth: int | None = Field(default=None, ge=0, description="So many levels below the namespaces at most.")
    since: int | None = Field(default=None, ge=0, description="Behind this number; from the first event by default.")
