"""Owns the opening of threads, runs and log rows that were read, and the sealing of what they hold.

Where each value lies is said in `checkpoints.sealing`. Without a vault that seals, nothing here costs anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from threadline.checkpoints.sealing import open_events, run_place, thread_place
from threadline.checkpoints.vault import Vault
from threadline.runs.errors import Invalid
from threadline.runs.model import LogRow, Run, Thread

_OF_THREAD = ("values", "interrupts", "error", "config")
_OF_RUN = ("kwargs", "error")


async def open_threads(vault: Vault, threads: Sequence[Thread]) -> list[Thread]:
    """Return the threads as they are shown. Raises VaultError."""
    if not vault.seals:
        return list(threads)
    places = [(thread_place(name, each.thread_id), getattr(each, name)) for each in threads for name in _OF_THREAD]
    opened = iter(await vault.open_json(places))
    return [replace(each, **{name: next(opened) for name in _OF_THREAD}) for each in threads]


async def open_runs(vault: Vault, runs: Sequence[Run]) -> list[Run]:
    """Return the runs with what they were given. Raises VaultError."""
    if not vault.seals:
        return list(runs)
    opened = iter(
        await vault.open_json([(run_place(n, each.run_id), getattr(each, n)) for each in runs for n in _OF_RUN])
    )
    return [replace(each, **{name: next(opened) for name in _OF_RUN}) for each in runs]


async def open_log(vault: Vault, rows: Sequence[LogRow]) -> list[LogRow]:
    """Return rows of the log, in its order, with their payloads. Raises VaultError."""
    if not vault.seals:
        return list(rows)
    payloads = await open_events(vault, [(row.thread_id, row.run_id, row.contents, row.payload) for row in rows])
    return [replace(row, payload=payload) for row, payload in zip(rows, payloads, strict=True)]


async def seal_thread(vault: Vault, thread_id: UUID, texts: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return JSON texts of a thread's columns as they are stored, by column. Raises VaultError."""
    given = {name: text for name, text in texts.items() if text is not None}
    sealed = await vault.seal_json([(thread_place(name, thread_id), text) for name, text in given.items()])
    return {**texts, **dict(zip(given, sealed, strict=True))}


async def seal_run(vault: Vault, run_id: UUID, column: str, text: str | None) -> str | None:
    """Return JSON text of a run's column as it is stored. Raises VaultError."""
    if text is None or not vault.seals:
        return text
    return (await vault.seal_json([(run_place(column, run_id), text)]))[0]


def refuse_search(vault: Vault, what: str, wanted: Any) -> None:
    """Raise Invalid for a search by what is sealed."""
    if wanted and vault.seals:
        raise Invalid(
            f"{what} cannot be searched: they are encrypted. Search by metadata, which is not, and leave {what} out."
        )
