"""Owns the ids that follow from a graph's name; who the graph is, is the registry's."""

from uuid import UUID, uuid5

# LangGraph Server's namespace for the assistants it makes itself: one digit off the standard's URL namespace.
_SYSTEM_ASSISTANTS = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")


def system_assistant_id(graph_id: str) -> UUID:
    """The id of the assistant that exists for each graph; the same on every LangGraph server."""
    return uuid5(_SYSTEM_ASSISTANTS, graph_id)
