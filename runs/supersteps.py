"""Owns how far a run may be ahead of its checkpoints; writing these is left to `checkpoints.run_saver`.

LangGraph bounds that under durability `sync` only: under `async` checkpoints pile up for as long as the database
is away. So it is told `sync` there, too, and the saver lags: LangGraph waits behind each superstep for whatever the
saver waits for, which is the commit of a checkpoint some supersteps back.
"""

from collections.abc import Generator
from typing import Literal

from langgraph.pregel._loop import PregelLoop

Durability = Literal["sync", "async", "exit"]


class _NoCheckpoint:
    """What a graph without a checkpointer has to wait for."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()

    def result(self) -> None:
        """As the blocking loop waits."""


# Without it LangGraph stumbles under `sync` over a subgraph that keeps no checkpoints: it waits for what is not there.
PregelLoop._put_checkpoint_fut = _NoCheckpoint()  # type: ignore[assignment]  # it is a future where one is written


def pace(durability: Durability) -> Durability:
    """Return what LangGraph is told."""
    return "exit" if durability == "exit" else "sync"


def lags(durability: Durability) -> bool:
    """Tell whether the saver lags."""
    return durability != "sync"
