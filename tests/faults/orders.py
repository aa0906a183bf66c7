"""Owns what clients ask for: graphs and their sizes, and the request for a run of one."""

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import uuid4

from threadline.tests.faults.facts import Accepted

MODES = ["values", "updates", "messages-tuple", "custom"]


class Kind(NamedTuple):
    """A graph and its size."""

    graph: str
    state: dict[str, Any]

    @property
    def name(self) -> str:
        return self.graph + "".join(f" {key}={value}" for key, value in sorted(self.state.items()) if key == "steps")


KINDS = (
    Kind("counting", {"steps": 12, "pace": 0.05}),
    Kind("counting", {"steps": 40, "pace": 0.02}),
    Kind("counting", {"steps": 25, "pace": 0.0}),
    Kind("fork", {"pace": 0.1}),
    Kind("nested", {"pace": 0.1}),
    Kind("chatty", {"pace": 0.2}),
)
# Long enough that whoever is killed has some of them.
LONG = (Kind("counting", {"steps": 60, "pace": 0.1}),)
BLOCKING = Kind("blocking", {"pace": 0.0})
ASKING = Kind("asking", {"pace": 0.1})
ANSWER: Mapping[str, Any] = MappingProxyType({"input": None, "command": {"resume": "yes"}})
DURABILITIES = ("async", "async", "sync", "exit")


class Order(NamedTuple):
    """A run that a client is to start; `more` is what the request says beside the usual. See `facts.Accepted`."""

    kind: Kind
    durability: str
    thread_id: str
    is_compared: bool = True
    may_go: bool = False
    instead_of: str = ""
    more: Mapping[str, Any] = MappingProxyType({})

    @property
    def body(self) -> dict[str, Any]:
        """What the SDK takes by name, and HTTP as JSON."""
        return {
            "input": self.kind.state,
            "stream_mode": MODES,
            "stream_subgraphs": True,
            "if_not_exists": "create",
            "durability": self.durability,
            **self.more,
        }

    def accepted(self, run_id: str) -> Accepted:
        """The fact that it was accepted under that id."""
        return Accepted(
            run_id,
            self.thread_id,
            self.kind.name,
            self.durability,
            self.is_compared,
            self.may_go,
            self.instead_of,
        )


def make_order(chance: random.Random, kinds: Sequence[Kind]) -> Order:
    """Choose a run."""
    return Order(chance.choice(kinds), chance.choice(DURABILITIES), str(uuid4()))
