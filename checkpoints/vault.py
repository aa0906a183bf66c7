"""Owns the seam at which stored data is sealed and opened: what a vault promises, and where a value lies.

Everything that may hold what users said goes through the vault of its database on the way in and on the way out. Here
is the vault that leaves data as it is; which values go through it, and under which places, is `sealing`'s.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, cast

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool


class Place(NamedTuple):
    """Where a value is stored: what is sealed for one place cannot be opened at another.

    `context` is whose data it is, for handlers of the project; None: that of whoever seals (`sealing_in`).
    """

    table: str
    column: str
    key: tuple[str, ...]
    context: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of {' / '.join(part for part in self.key if part)}"


class VaultError(Exception):
    """A stored value cannot be opened or sealed; the text says what, where and what to do, and shows no data."""


class UnknownKey(VaultError):
    """The value was sealed with a key that this process was not given."""


class Tampered(VaultError):
    """The value is not what was sealed for its place: it was changed, or comes from elsewhere."""


class NotSealed(VaultError):
    """The value lies there in plain text, and plain text is not accepted."""


_CONTEXT: ContextVar[Mapping[str, Any] | None] = ContextVar("sealing_context", default=None)


def sealing_context() -> Mapping[str, Any] | None:
    """Return the context in which values are sealed here, None where nobody gave one."""
    return _CONTEXT.get()


@contextmanager
def sealing_in(context: Mapping[str, Any] | None) -> Iterator[None]:
    """Seal in this context for the length of the block; None leaves the one that is there."""
    if context is None:
        yield
        return
    token = _CONTEXT.set(context)
    try:
        yield
    finally:
        _CONTEXT.reset(token)


class Vault(Protocol):
    """Seals what is stored, and opens what is read. Each method takes many values and answers in their order.

    `typed` values are bytes beside the name of their form, which says whether they are sealed; `json` values are JSON
    text on the way in and as PostgreSQL's driver reads them on the way out. All raise VaultError.
    """

    @property
    def seals(self) -> bool:
        """False where values are stored as they are."""

    @property
    def writes(self) -> str:
        """The id of the key that seals."""

    @property
    def reads_plaintext(self) -> bool:
        """Whether values that are not sealed are accepted."""

    async def seal(self, items: Sequence[tuple[Place, bytes]]) -> list[bytes]: ...

    async def open(self, items: Sequence[tuple[Place, bytes]]) -> list[bytes]: ...

    async def seal_typed(self, items: Sequence[tuple[Place, str, bytes]]) -> list[tuple[str, bytes]]: ...

    async def open_typed(self, items: Sequence[tuple[Place, str, bytes]]) -> list[tuple[str, bytes]]: ...

    async def seal_json(self, items: Sequence[tuple[Place, str]]) -> list[str]: ...

    async def open_json(self, items: Sequence[tuple[Place, Any]]) -> list[Any]: ...


class PlainVault:
    """Leaves everything as it is. That a database was sealed before is noticed when a process starts (`keys`)."""

    seals = False
    writes = ""
    reads_plaintext = True

    async def seal(self, items: Sequence[tuple[Place, bytes]]) -> list[bytes]:
        """Return what was given."""
        return [data for _, data in items]

    async def open(self, items: Sequence[tuple[Place, bytes]]) -> list[bytes]:
        """Return what was given."""
        return [data for _, data in items]

    async def seal_typed(self, items: Sequence[tuple[Place, str, bytes]]) -> list[tuple[str, bytes]]:
        """Return what was given."""
        return [(kind, data) for _, kind, data in items]

    async def open_typed(self, items: Sequence[tuple[Place, str, bytes]]) -> list[tuple[str, bytes]]:
        """Return what was given."""
        return [(kind, data) for _, kind, data in items]

    async def seal_json(self, items: Sequence[tuple[Place, str]]) -> list[str]:
        """Return what was given."""
        return [text for _, text in items]

    async def open_json(self, items: Sequence[tuple[Place, Any]]) -> list[Any]:
        """Return what was given."""
        return [value for _, value in items]


PLAIN: Vault = PlainVault()


def vault_of(source: object) -> Vault:
    """Return the vault of a pool, a transaction or a connection of ours; a driver's own, opened elsewhere, has none.

    Raises TypeError for anything else: nothing is stored in plain text by mistake.
    """
    vault = getattr(source, "vault", None)
    if vault is not None:
        return cast(Vault, vault)
    if isinstance(source, AsyncConnection | AsyncConnectionPool):
        return PLAIN
    raise TypeError(f"{type(source).__name__} does not say how what is stored is sealed")
