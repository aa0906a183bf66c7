"""Owns the journal of effects of one attempt of a run: kept with the thread, fenced by its head, read when run again.

What nodes call is `threadline.effects`. A result is committed before the node is given it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from threadline.checkpoints.buffer import Fence, FencedOut
from threadline.checkpoints.pool import Pool
from threadline.checkpoints.run_saver import RunSaver, patiently
from threadline.checkpoints.sealing import effect_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import Place, sealing_context, vault_of
from threadline.effects import EffectError, Kept, Task

T = TypeVar("T")

logger = logging.getLogger("threadline.effects")

_SQL = load_statements("threadline.checkpoints", "effects.sql")
MAX_BYTES = 1024 * 1024
LAST_SECONDS = 5.0  # for which a run that is stopped still waits for what it has done to be written down


class EffectJournal:
    """The effects of one attempt of a run. `on_fenced_out` is called when the thread is found to be another run's.

    `keeps_checkpoints` is false where the run has none before its end: a task would have no name that lasts.
    """

    def __init__(
        self,
        pool: Pool,
        saver: RunSaver,
        fence: Fence,
        *,
        keeps_checkpoints: bool,
        on_fenced_out: Callable[[], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._pool = pool
        self._saver = saver
        self._fence = fence
        self._keeps_checkpoints = keeps_checkpoints
        self._on_fenced_out = on_fenced_out
        self._context = sealing_context()  # of the run: effects are also finished from threads of the node's own
        self._begun: set[tuple[str, int, str]] = set()

    async def begin(self, task: Task, name: str) -> Kept | None:
        """Return the result that an earlier execution of the task left, None when there is none.

        From here on the task's checkpoint is committed, so that a crash leads back to the same task. Raises
        EffectError, and FencedOut when the thread is another run's.
        """
        self._check(task.checkpoint_ns, name)
        mark = (task.task_id, task.node_attempt, name)
        if mark in self._begun:
            raise EffectError(
                f"effect {name!r} is asked for twice by one task: give each its own name, in a loop with its number"
            )
        self._begun.add(mark)
        try:
            await self._saver.reached(task.checkpoint_ns, task.checkpoint_id)
            row = await self._execute("read", self._named(task, name))
        except BaseException:
            self._begun.discard(mark)
            raise
        if row[0] is None:
            return None
        (kept,) = await vault_of(self._pool).open_typed([(self._place(task, name), row[0], bytes(row[1]))])
        return Kept(self._saver.serde.loads_typed(kept))

    async def finish(self, task: Task, name: str, result: Any) -> Any:
        """Commit the result, and return it as it reads from there. Raises EffectError and FencedOut."""
        try:
            kind, blob = self._saver.serde.dumps_typed(result)
        except Exception as error:  # whatever a value's own code raises
            raise EffectError(f"effect {name!r} is done, but its result cannot be kept: {error}") from error
        if len(blob) > MAX_BYTES:
            raise EffectError(
                f"effect {name!r} is done, but its result of {len(blob)} bytes cannot be kept: at most {MAX_BYTES} "
                "can. Return what leads to it, such as an id."
            )
        kept = {"checkpoint_ns": task.checkpoint_ns, "checkpoint_id": task.checkpoint_id}
        ((stored_kind, stored),) = await vault_of(self._pool).seal_typed([(self._place(task, name), kind, blob)])
        row = self._named(task, name) | kept | {"type": stored_kind, "blob": stored}
        await self._see_through(self._execute("write", row))
        return self._saver.serde.loads_typed((kind, blob))

    def give_up(self, task: Task, name: str) -> None:
        """Let the task try the effect again: it failed."""
        self._begun.discard((task.task_id, task.node_attempt, name))

    def _check(self, ns: str, name: str) -> None:
        if not self._keeps_checkpoints:
            raise EffectError(
                f"effect {name!r} cannot be kept: the run has durability 'exit', so its tasks cannot be told again "
                "after a crash. Use 'async' or 'sync'."
            )
        if not self._saver.saves(ns):
            raise EffectError(
                f"effect {name!r} cannot be kept: its graph keeps no checkpoints with this server. Compile it without "
                "a checkpointer, or carry the effect out in a node of the outer graph."
            )

    def _place(self, task: Task, name: str) -> Place:
        return effect_place(self._fence.thread_id, task.task_id, name)._replace(context=self._context)

    def _named(self, task: Task, name: str) -> dict[str, Any]:
        return {**self._fence._asdict(), "task_id": task.task_id, "name": name}

    async def _execute(self, statement: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
        """Return the statement's row, waiting for the database if need be. Raises FencedOut where there is none."""

        async def execute() -> tuple[Any, ...] | None:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL[statement], parameters)
                return await cursor.fetchone()

        row = await patiently(execute)
        if row is None:
            self._on_fenced_out()
            raise FencedOut(f"run {self._fence.run_id} no longer owns its thread")
        return row

    async def _see_through(self, writing: Awaitable[T]) -> T:
        """Wait for what must be written down: a node that is stopped meanwhile has done what it has done."""
        task = asyncio.ensure_future(writing)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            deadline = self.loop.time() + LAST_SECONDS
            while not task.done() and (left := deadline - self.loop.time()) > 0:
                with suppress(asyncio.CancelledError):  # it is passed on below
                    await asyncio.wait({task}, timeout=left)
            if not task.done():
                logger.warning("effect.not_kept", extra={"run_id": str(self._fence.run_id)})
                task.cancel()
            elif not task.cancelled():
                task.exception()  # nobody is left to be told
            raise
