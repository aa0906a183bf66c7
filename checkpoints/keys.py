"""Owns what a database says about its keys: which of them its values may need, with a proof that each is the right one.

A process that lacks a key, or has another one of the same id, is refused before it reads or writes anything.
"""

from collections.abc import Mapping

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from threadline.checkpoints.handler_form import HANDLERS
from threadline.checkpoints.migrate import verify
from threadline.checkpoints.pool import Pool
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import NotSealed, Place, Tampered, UnknownKey, Vault, vault_of

_SQL = load_statements("threadline.checkpoints", "keys.sql")
_BY_KEYS = "langgraph.json names handlers, and the database holds values that were encrypted with the key"
PLAINTEXT = ""  # stands for values that were stored before there was a key
_PROOF = b"threadline"
_BY_HANDLERS = (
    "The database is encrypted by handlers of a project. Name them as `encryption` in its langgraph.json: "
    "docs/encryption.md."
)


async def check_database(pool: Pool) -> None:
    """Refuse a database whose schema is not up to date, or whose values this process could not open.

    Raises MigrationError and VaultError.
    """
    await verify(pool)
    async with pool.connection() as connection:
        await check_keys(connection)


async def check_keys(connection: AsyncConnection[TupleRow]) -> None:
    """Refuse to go on with a database whose values this process could not open, and note the key it writes with.

    Raises VaultError.
    """
    vault = vault_of(connection)
    async with connection.transaction():
        if not vault.seals:
            _refuse_sealed(await _noted(connection))
            return
        await connection.execute(_SQL["lock"])
        noted = await _noted(connection)
        for key_id, proof in noted.items():
            await _check(vault, key_id, proof)
        if not noted and await _holds_data(connection):
            await _check(vault, PLAINTEXT, None)
            await connection.execute(_SQL["note"], {"key_id": PLAINTEXT, "proof": None})
        if vault.writes not in noted:
            (proof,) = await vault.seal([(_place(vault.writes), _PROOF)])
            await connection.execute(_SQL["note"], {"key_id": vault.writes, "proof": proof})


async def note_plaintext(connection: AsyncConnection[TupleRow]) -> None:
    """Note that there are values in plain text, where there are keys: somebody else wrote them."""
    if vault_of(connection).seals:
        await connection.execute(_SQL["note"], {"key_id": PLAINTEXT, "proof": None})


async def forget_keys(pool: Pool) -> None:
    """Note that no value needs any other key than the one that writes."""
    async with pool.connection() as connection:
        await connection.execute(_SQL["forget"], {"key_id": vault_of(pool).writes})


async def _noted(connection: AsyncConnection[TupleRow]) -> Mapping[str, bytes | None]:
    cursor = await connection.execute(_SQL["noted"])
    return dict(await cursor.fetchall())


async def _holds_data(connection: AsyncConnection[TupleRow]) -> bool:
    cursor = await connection.execute(_SQL["holds_data"])
    row = await cursor.fetchone()
    return bool(row and row[0])


def _refuse_sealed(noted: Mapping[str, bytes | None]) -> None:
    if HANDLERS in noted:
        raise UnknownKey(_BY_HANDLERS)
    if keys := [key_id for key_id in noted if key_id != PLAINTEXT]:
        raise UnknownKey(
            f"The database is encrypted with {', '.join(map(repr, keys))}, and no key is set. Set "
            "THREADLINE_ENCRYPTION_KEYS, or LANGGRAPH_AES_KEY if it was encrypted with that: docs/encryption.md."
        )


async def _check(vault: Vault, key_id: str, proof: bytes | None) -> None:
    if key_id == PLAINTEXT:
        if not vault.reads_plaintext:
            raise NotSealed(
                "The database holds values in plain text, which are refused with encryption on. Set "
                "THREADLINE_ENCRYPTION_READ_PLAINTEXT=true until `threadline rotate` has encrypted them."
            )
        return
    if key_id != vault.writes and HANDLERS in (key_id, vault.writes):
        raise UnknownKey(_BY_HANDLERS if key_id == HANDLERS else f"{_BY_KEYS} {key_id!r}, which they cannot read.")
    try:
        await vault.open([(_place(key_id), proof or b"")])
    except UnknownKey:
        raise UnknownKey(
            f"The database holds values that are encrypted with the key {key_id!r}, which is not set. Put it behind "
            "the first one of THREADLINE_ENCRYPTION_KEYS until `threadline rotate` has encrypted them anew."
        ) from None
    except (Tampered, NotSealed):
        raise Tampered(
            f"The key {key_id!r} is not the one that the database was encrypted with. Set the one it had, and "
            "give a new key a new id."
        ) from None


def _place(key_id: str) -> Place:
    return Place("encryption_keys", "proof", (key_id,))
