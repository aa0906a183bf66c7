"""Owns what the author of a node calls for an effect that must not happen twice; keeping its result is the journal's.

    from threadline.effects import aeffect, effect, effect_key

Where no journal is at hand, as in a plain `graph.invoke`, the function is called and that is all.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, cast, overload
from uuid import UUID, uuid4, uuid5

from langgraph.config import get_config
from langgraph.runtime import ExecutionInfo

T = TypeVar("T")

__all__ = ["EffectError", "aeffect", "effect", "effect_key"]

MAX_NAME = 200
_KEYS = UUID("6f0b1c1e-6c1b-5d2f-9a53-0c3f5d3a7a41")  # the namespace of keys: no other key is like one of ours


class EffectError(RuntimeError):
    """An effect cannot be carried out, or its result not be kept; the text says why and what instead."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a node runs as: the same each time that it is run again from its graph's checkpoint, which is named here."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    task_id: str
    node_attempt: int


class Kept(NamedTuple):
    """The result of an effect that is finished."""

    result: Any


class Journal(Protocol):
    """What remembers the effects of one attempt of a run. All of it happens on `loop`."""

    loop: asyncio.AbstractEventLoop

    async def begin(self, task: Task, name: str) -> Kept | None:
        """Return what is kept; None when the effect is to be carried out now. Raises EffectError."""

    async def finish(self, task: Task, name: str, result: Any) -> Any:
        """Keep the result, and return it as it will be read the next time. Raises EffectError."""

    def give_up(self, task: Task, name: str) -> None:
        """The effect failed, and may be tried again."""


_JOURNAL: ContextVar[Journal | None] = ContextVar("journal", default=None)


@contextmanager
def journalling(journal: Journal) -> Iterator[None]:
    """Have the effects of what is called in the block kept in `journal`."""
    token = _JOURNAL.set(journal)
    try:
        yield
    finally:
        _JOURNAL.reset(token)


def effect(name: str, fn: Callable[[], T]) -> T:
    """Call `fn` unless this task has finished the effect of that name before, and return what it returned.

    For nodes and tools that are plain functions. `name` is one for each effect of a task: in a loop, put what tells
    the rounds apart into it. What `fn` raises is passed on, and nothing is kept. Raises EffectError.
    """
    journal, task = _find(name)
    if journal is None or task is None:
        return fn()
    if (kept := _wait(journal, lambda: journal.begin(task, name))) is not None:
        return cast("T", kept.result)
    try:
        result = fn()
        if inspect.isawaitable(result):
            _forget(result)
            raise EffectError(
                f"effect {name!r}: the function returned an awaitable; await aeffect() instead of effect()"
            )
        return cast("T", _wait(journal, lambda: journal.finish(task, name, result)))
    except BaseException:
        _give_up(journal, task, name)
        raise


@overload
async def aeffect(name: str, fn: Callable[[], Awaitable[T]]) -> T: ...
@overload
async def aeffect(name: str, fn: Callable[[], T]) -> T: ...
async def aeffect(name: str, fn: Callable[[], Any]) -> Any:
    """Do as `effect` does, for nodes and tools that are coroutines: what `fn` returns is awaited."""
    journal, task = _find(name)
    if journal is None or task is None:
        return await _resolve(fn())
    if (kept := await _on_loop(journal, journal.begin(task, name))) is not None:
        return kept.result
    try:
        result = await _resolve(fn())
        return await _on_loop(journal, journal.finish(task, name, result))
    except BaseException:
        _give_up(journal, task, name)
        raise


def effect_key(name: str) -> str:
    """Return the key that stands for this effect of this task, the same each time that the task is run again.

    To be handed to services that take idempotency keys. Outside of a graph it is another one each time. Raises
    EffectError.
    """
    _check(name)
    task = _find_task()
    return str(uuid4()) if task is None else str(uuid5(_KEYS, f"{task.thread_id}/{task.task_id}/{name}"))


def _find(name: str) -> tuple[Journal | None, Task | None]:
    _check(name)
    journal = _JOURNAL.get()
    return journal, None if journal is None else _find_task()


def _check(name: object) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise EffectError(f"the name of an effect must be 1 to {MAX_NAME} printable characters, not {name!r:.300}")


def _find_task() -> Task | None:
    """Return the task that is being executed here, None outside of a graph."""
    try:
        configurable = get_config().get("configurable") or {}
    except RuntimeError:
        return None
    info: ExecutionInfo | None = getattr(configurable.get("__pregel_runtime"), "execution_info", None)
    if info is None:
        return None
    parents: dict[str, str] = configurable.get("checkpoint_map") or {}
    # A call of the functional API is listed below the task that makes it, too, and has its checkpoint.
    ns = next((ns for ns, checkpoint_id in parents.items() if checkpoint_id == info.checkpoint_id), None)
    if ns is None:
        ns = info.checkpoint_ns.rpartition("|")[0]
    return Task(info.thread_id or "", ns, info.checkpoint_id, info.task_id, info.node_attempt)


def _wait(journal: Journal, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Have something done on the journal's loop, from another thread."""
    if _running_loop() is journal.loop:
        raise EffectError("effect() would block the event loop here: await aeffect() in a coroutine")
    return asyncio.run_coroutine_threadsafe(call(), journal.loop).result()


async def _on_loop(journal: Journal, call: Coroutine[Any, Any, T]) -> T:
    """Have something done on the journal's loop, which is another one where a plain function runs a loop of its own."""
    if _running_loop() is journal.loop:
        return await call
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, journal.loop))


def _give_up(journal: Journal, task: Task, name: str) -> None:
    """Have it tried again: it is known before another try begins, in whatever thread."""
    if _running_loop() is journal.loop:
        journal.give_up(task, name)
    else:
        journal.loop.call_soon_threadsafe(journal.give_up, task, name)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _resolve(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _forget(awaitable: object) -> None:
    """Spare the author a warning about a coroutine that nobody awaits: the error says it."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
