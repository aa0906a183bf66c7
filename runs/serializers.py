"""Owns the strict serialisers of the graphs: each reads back the classes its own schemas declare, no others."""

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from threadline.checkpoints.serde import make_serializer
from threadline.graphs.registry import Registry


class Serializers:
    """One serialiser per graph, made anew when the graph's declared classes grow (factories)."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[str, tuple[frozenset[tuple[str, ...]], JsonPlusSerializer]] = {}

    def of(self, graph_id: str) -> JsonPlusSerializer:
        """Return the graph's serialiser; one that allows nothing extra for a graph that is not there."""
        try:
            allowed = frozenset(self._registry.schema_allowlist(graph_id))
        except Exception:  # an unknown or broken graph declares nothing; its threads stay readable
            allowed = frozenset()
        known = self._made.get(graph_id)
        if known is None or known[0] != allowed:
            known = self._made[graph_id] = (allowed, make_serializer(allowed))
        return known[1]
