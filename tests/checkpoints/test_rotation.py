"""Everything can be encrypted anew, while runs write on, and nothing but what says so needs an old key then."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from threadline.checkpoints.keys import check_database, check_keys, forget_keys
from threadline.checkpoints.pool import Database, open_pool
from threadline.checkpoints.rewriting import count_due, rewrite_all
from threadline.checkpoints.saver import ThreadSaver
from threadline.checkpoints.sealing import effect_place
from threadline.checkpoints.vault import PLAIN, NotSealed, Tampered, UnknownKey, Vault
from threadline.graphs.registry import Registry
from threadline.runs.crons import CronRequest
from threadline.runs.model import JsonObject
from threadline.tests.checkpoints.sealed_world import NEW, OLD, find_in_database, vault_with
from threadline.tests.checkpoints.test_saver import build_graph
from threadline.tests.runs.life_world import World, load_graphs, open_world

CANARY = "canary-91c2"
GIVEN: JsonObject = {"log": [CANARY]}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return load_graphs(tmp_path)


async def fill(world: World) -> None:
    """Leave something in every table."""
    run = await world.engine.queue.create(world.ask_for("steps", GIVEN))
    await world.answer(run)
    await world.engine.states.update(run.thread_id, {"log": [CANARY]})
    await world.answer(await world.engine.queue.create(world.ask_for("asking", GIVEN)))
    await world.answer(await world.engine.queue.create(world.ask_for("failing", GIVEN)))
    await world.engine.crons.create(
        CronRequest(run.assistant_id, None, "0 0 1 1 *", None, None, {}, {"input": GIVEN}, {"input": GIVEN})
    )
    await world.engine.store.aput(("notes",), "k", {"text": CANARY})


async def read(world: World) -> list[Any]:
    """Return what the tables hold, as the engine reads it."""
    threads = await world.engine.threads.search(sort_by="thread_id")
    states = [(await world.engine.states.get(thread.thread_id))["values"] for thread in threads]
    runs = [run for thread in threads for run in await world.engine.queue.list(thread.thread_id)]
    events = [event for thread in threads for event in await world.events(thread.thread_id)]
    told = [(event.seq, event.name, bytes(event.data)) for event in events]
    item = await world.engine.store.aget(("notes",), "k")
    crons = await world.engine.crons.search()
    assert item is not None
    return [threads, states, runs, told, crons, item.value]


def with_vault(dsn: str, vault: Vault) -> Database:
    return Database(dsn, pool_size=8, vault=vault)


async def rotate(database: Database) -> dict[str, int]:
    """What `threadline rotate` does."""
    async with open_pool(database, "rotate") as pool:
        await check_database(pool)
        result = await rewrite_all(pool)
        assert result.failures == []
        assert set((await count_due(pool)).values()) == {0}
        await forget_keys(pool)
    return result.rows


FILLED = {"checkpoints", "blobs", "writes", "events", "threads", "runs", "crons", "items"}


async def test_everything_is_encrypted_with_the_new_key_and_reads_as_before(dsn: str, registry: Registry) -> None:
    async with open_world(with_vault(dsn, vault_with(OLD)), registry) as world:
        await fill(world)
        before = await read(world)
    rows = await rotate(with_vault(dsn, vault_with(NEW, OLD)))
    assert {table for table, count in rows.items() if count} >= FILLED
    assert set((await rotate(with_vault(dsn, vault_with(NEW, OLD)))).values()) == {0}
    async with open_world(with_vault(dsn, vault_with(NEW)), registry) as world:
        assert await read(world) == before


async def test_a_database_in_plain_text_is_moved(dsn: str, registry: Registry) -> None:
    async with open_world(Database(dsn, pool_size=8), registry) as world:
        await fill(world)
        before = await read(world)
    assert set(find_in_database(dsn, CANARY)) >= {"checkpoint_blobs", "run_events", "threads", "runs", "crons", "store"}
    with pytest.raises(NotSealed, match="THREADLINE_ENCRYPTION_READ_PLAINTEXT"):
        async with open_world(with_vault(dsn, vault_with(NEW)), registry):
            pass
    async with open_world(with_vault(dsn, vault_with(NEW, plain=True)), registry) as world:
        assert await read(world) == before
    await rotate(with_vault(dsn, vault_with(NEW, plain=True)))
    assert find_in_database(dsn, CANARY) == []
    async with open_world(with_vault(dsn, vault_with(NEW)), registry) as world:
        assert await read(world) == before
        await fill(world)
    assert find_in_database(dsn, CANARY) == []


async def test_runs_write_on_while_everything_is_encrypted_anew(dsn: str, registry: Registry) -> None:
    async with open_world(with_vault(dsn, vault_with(OLD)), registry) as world:
        await fill(world)
    both = with_vault(dsn, vault_with(NEW, OLD))
    async with open_world(both, registry) as world:
        rotating = asyncio.create_task(rotate(both))
        runs = [await world.engine.queue.create(world.ask_for("steps", GIVEN)) for _ in range(20)]
        answers = [await world.answer(run) for run in runs]
        await rotating
        assert len({str(answer) for answer in answers}) == 1
    async with open_world(with_vault(dsn, vault_with(NEW)), registry) as world:
        assert len(await world.engine.threads.search(limit=100)) == 23
        await read(world)


async def test_a_row_that_somebody_holds_is_waited_for(dsn: str, registry: Registry) -> None:
    async with open_world(with_vault(dsn, vault_with(OLD)), registry) as world:
        await fill(world)
    both = with_vault(dsn, vault_with(NEW, OLD))
    async with await psycopg.AsyncConnection.connect(dsn) as holder:
        await holder.execute("select from threads for update")
        rotating = asyncio.create_task(rotate(both))
        async with open_pool(both, "test") as pool, asyncio.timeout(30):
            while (await count_due(pool))["events"]:  # noqa: ASYNC110  # it happens in the database
                await asyncio.sleep(0.05)
            counts = await count_due(pool)
        assert counts["blobs"] == 0
        assert counts["threads"] == 3
        await holder.rollback()
        assert (await rotating)["threads"] == 3


async def test_what_cannot_be_opened_stays_and_is_told(dsn: str, registry: Registry) -> None:
    async with open_world(with_vault(dsn, vault_with(OLD)), registry) as world:
        await fill(world)
    async with open_pool(with_vault(dsn, vault_with(NEW, OLD)), "test") as pool:
        async with pool.connection() as connection:
            await connection.execute('update store set value = \'{"$sealed": "2025:AAAA"}\'')
        result = await rewrite_all(pool)
        assert len(result.failures) == 1
        assert result.failures[0].startswith("store.value of notes / k is cut short")
        assert (await count_due(pool))["items"] == 1


async def test_results_of_effects_are_encrypted_anew_too(dsn: str) -> None:
    thread, old = uuid4(), vault_with(OLD)
    place = effect_place(thread, "task", "pay")
    ((kind, blob),) = await old.seal_typed([(place, "msgpack", b"\xa1x")])
    async with open_pool(with_vault(dsn, old), "test") as pool, pool.connection() as connection:
        await connection.execute("insert into thread_heads (thread_id) values (%s)", [thread])
        insert = "insert into effects values (%s, 'task', 'pay', '', '', %s, %s, %s)"
        await connection.execute(insert, [thread, thread, kind, blob])
    new = vault_with(NEW, OLD)
    assert (await rotate(with_vault(dsn, new)))["effects"] == 1
    with psycopg.connect(dsn) as plain:
        kept = plain.execute("select type, blob from effects").fetchone()
    assert kept is not None
    assert kept[1] != blob
    assert await vault_with(NEW).open_typed([(place, *kept)]) == [("msgpack", b"\xa1x")]


async def check(dsn: str, vault: Vault) -> None:
    async with await with_vault(dsn, vault).connect("test") as connection:
        await check_keys(connection)


async def test_a_process_without_the_right_keys_does_not_start(dsn: str) -> None:
    await check(dsn, PLAIN)
    await check(dsn, vault_with(OLD))
    with pytest.raises(UnknownKey, match="encrypted with '2025', and no key is set"):
        await check(dsn, PLAIN)
    with pytest.raises(UnknownKey, match="the key '2025', which is not set"):
        await check(dsn, vault_with(NEW))
    with pytest.raises(Tampered, match="'2025' is not the one"):
        await check(dsn, vault_with(NEW.replace("2026", "2025")))
    await check(dsn, vault_with(NEW, OLD))
    async with open_pool(with_vault(dsn, vault_with(NEW, OLD)), "test") as pool:
        await forget_keys(pool)
    await check(dsn, vault_with(NEW))


async def test_threads_that_langgraph_encrypted_are_read_and_encrypted_anew(dsn: str) -> None:
    key, config = "0123456789abcdef", {"configurable": {"thread_id": str(uuid4())}}
    serde = EncryptedSerializer(_LikeLangGraph(), JsonPlusSerializer())
    async with open_pool(Database(dsn), "test") as pool:
        await build_graph(ThreadSaver(pool, serde=serde)).ainvoke({"log": [CANARY], "title": "t"}, config)
    moving = with_vault(dsn, vault_with(NEW, langgraph_key=key, plain=True))
    async with open_pool(moving, "test") as pool:
        assert (await build_graph(ThreadSaver(pool)).aget_state(config)).values["log"] == [CANARY, "written"]
    await rotate(moving)
    async with open_pool(with_vault(dsn, vault_with(NEW)), "test") as pool:
        assert (await build_graph(ThreadSaver(pool)).aget_state(config)).values["log"] == [CANARY, "written"]


class _LikeLangGraph:
    """Encrypts as LangGraph's serialiser does with pycryptodome."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CTR

        from threadline.checkpoints.eax import _tweaked

        key, nonce = b"0123456789abcdef", bytes(range(16))
        encryptor = Cipher(AES(key), CTR(_tweaked(key, 0, nonce))).encryptor()
        text = encryptor.update(plaintext) + encryptor.finalize()
        parts = zip(_tweaked(key, 0, nonce), _tweaked(key, 1, b""), _tweaked(key, 2, text), strict=True)
        return "aes", nonce + bytes(a ^ b ^ c for a, b, c in parts) + text

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        raise NotImplementedError
