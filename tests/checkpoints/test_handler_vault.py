"""Owns the proof of what the vault of a project's handlers promises where no server is needed to see it."""

import asyncio
import json
from typing import Any

import psycopg
import pytest
from langgraph_sdk.encryption.types import DecryptResult, EncryptionContext

from threadline.checkpoints import handler_vault
from threadline.checkpoints.handler_form import CONTEXT, read_context
from threadline.checkpoints.handler_vault import HandlerVault
from threadline.checkpoints.keys import check_database
from threadline.checkpoints.pool import Database, open_pool
from threadline.checkpoints.sealing import blob_place, item_place, run_place, thread_place
from threadline.checkpoints.vault import NotSealed, Tampered, UnknownKey, Vault, VaultError, sealing_in
from threadline.tests.checkpoints import project_encryption
from threadline.tests.checkpoints.sealed_world import NEW, vault_with

ANN, BOB = {"tenant": "ann"}, {"tenant": "bob"}
RUN = run_place("kwargs", "r")


def ours(variable: str = "encryption", **options: Any) -> HandlerVault:
    return HandlerVault(getattr(project_encryption, variable), variable, **options)


async def test_values_are_sealed_in_the_context_of_their_place_or_else_of_the_block() -> None:
    vault, place = ours(), thread_place("error", "t")
    with sealing_in(ANN):
        mine, other = await vault.seal([(place, b"1"), (place._replace(context=BOB), b"2")])
        (text,) = await vault.seal_json([(RUN, '{"input":"a","n":1}')])
    assert (read_context(mine), read_context(other), read_context(text)) == (ANN, BOB, ANN)
    assert await vault.open([(place, mine), (place, other)]) == [b"1", b"2"]
    assert await vault.open_json([(RUN, json.loads(text))]) == [{"input": "a", "n": 1}]


async def test_fields_keep_their_keys_and_everything_else_is_bytes() -> None:
    vault = ours()
    places = [item_place("a", "k"), thread_place("interrupts", "t"), RUN, RUN]
    with sealing_in(ANN):
        sealed = await vault.seal_json(
            [
                (item_place("a", "k"), '{"text":1}'),
                (thread_place("interrupts", "t"), '{"q":1}'),
                (RUN, "[1]"),
                (RUN, "{}"),
            ]
        )
    field, opaque, listed, empty = map(json.loads, sealed)
    assert field["content"].keys() == {"text"}
    assert opaque.keys() == listed.keys() == {"$sealed", CONTEXT}
    assert empty == {}
    opened = await vault.open_json(list(zip(places, (field, opaque, listed, empty), strict=True)))
    assert opened == [{"text": 1}, {"q": 1}, [1], {}]


async def test_a_handler_that_changes_keys_is_refused() -> None:
    with sealing_in(ANN), pytest.raises(VaultError, match="added or removed keys; it may change values only"):
        await ours("strange").seal_json([(RUN, '{"input":1}')])


async def test_bytes_from_another_place_and_plain_ones_are_refused() -> None:
    vault = ours()
    here, there = blob_place("t", "", "c", "1"), blob_place("u", "", "c", "1")
    with sealing_in(ANN):
        ((kind, blob),) = await vault.seal_typed([(here, "msgpack", b"1")])
    assert await vault.open_typed([(here, kind, blob)]) == [("msgpack", b"1")]
    with pytest.raises(Tampered, match="moved from another place"):
        await vault.open_typed([(there, kind, blob)])
    with pytest.raises(Tampered, match="not what handlers encrypted"):
        await vault.open_typed([(here, kind, blob[1:])])
    with pytest.raises(NotSealed, match="as no handler encrypted it"):
        await vault.open_typed([(here, "msgpack", b"1")])
    with pytest.raises(NotSealed):
        await vault.open_json([(RUN, {"input": 1})])
    assert await ours(reads_plaintext=True).open_json([(RUN, {"input": 1})]) == [{"input": 1}]


async def test_a_replacement_is_left_and_its_plaintext_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def decrypt(ctx: EncryptionContext, data: bytes) -> DecryptResult[bytes]:
        return DecryptResult(await project_encryption.decrypt_blob(ctx, data), b"anew")

    vault = ours("only_blobs")
    with sealing_in(ANN):
        (sealed,) = await vault.seal([(RUN, b"1")])
    monkeypatch.setattr(project_encryption.only_blobs, "_blob_decryptor", decrypt)
    assert await vault.open([(RUN, sealed)]) == [b"1"]


async def test_a_handler_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait_for_ever(*_: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(handler_vault, "PATIENCE", 0.05)
    monkeypatch.setattr(project_encryption.only_blobs, "_blob_encryptor", wait_for_ever)
    with pytest.raises(VaultError, match="raised TimeoutError"):
        await ours("only_blobs").seal([(RUN, b"1")])


@pytest.mark.parametrize(("answer", "told"), [(None, "returned NoneType"), ("text", "returned str instead of bytes")])
async def test_an_answer_that_cannot_be_stored_is_refused(
    monkeypatch: pytest.MonkeyPatch, answer: Any, told: str
) -> None:
    async def encrypt(*_: Any) -> Any:
        return answer

    monkeypatch.setattr(project_encryption.only_blobs, "_blob_encryptor", encrypt)
    with pytest.raises(VaultError, match=told):
        await ours("only_blobs").seal([(RUN, b"1")])


async def check(dsn: str, vault: Vault) -> None:
    async with open_pool(Database(dsn, vault=vault), "test") as pool:
        await check_database(pool)


async def test_a_database_of_handlers_is_refused_without_them_and_one_of_keys_with_them(dsn: str) -> None:
    await check(dsn, ours())
    await check(dsn, ours())
    with pytest.raises(UnknownKey, match="encrypted by handlers of a project"):
        await check(dsn, vault_with(NEW))
    async with open_pool(Database(dsn), "test") as pool:
        with pytest.raises(UnknownKey, match="encrypted by handlers of a project"):
            await check_database(pool)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("delete from encryption_keys")
    await check(dsn, vault_with(NEW))
    with pytest.raises(UnknownKey, match="encrypted with the key '2026', which they cannot read"):
        await check(dsn, ours())
