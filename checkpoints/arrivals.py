"""Owns waiting for checkpoints of a run that LangGraph is about to save; saving them is `run_saver`'s."""

import asyncio

Place = tuple[str, str]  # a namespace and the id of a checkpoint


class Arrivals:
    """The checkpoints that somebody waits for."""

    def __init__(self) -> None:
        self._awaited: dict[Place, asyncio.Future[None]] = {}

    async def expect(self, place: Place) -> None:
        """Return when the checkpoint is handed over. Raises what kept it from being saved."""
        # Several may wait for one: a waiter that is cancelled leaves it to the others.
        await asyncio.shield(self._awaited.setdefault(place, asyncio.get_running_loop().create_future()))

    def announce(self, place: Place, error: BaseException | None = None) -> None:
        """Tell whoever waits for the checkpoint that it was handed over, or never will be."""
        waiter = self._awaited.pop(place, None)
        if waiter is None:
            return
        if error is None:
            waiter.set_result(None)
            return
        waiter.set_exception(error if isinstance(error, Exception) else RuntimeError("the run was stopped"))
        waiter.exception()  # marks it retrieved: who waited may be gone
