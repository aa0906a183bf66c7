"""The relay does to connections what a network can do, and is transparent when it does nothing."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from threadline.tests.faults.links import Relay, open_relay
from threadline.tests.laboratory.locks import until

ALL = random.Random(1)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say back whatever is said."""
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay before a server that repeats what it hears."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, open_relay(lambda: [port]) as opened:
        yield opened


async def talk(relay: Relay) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which something was said and answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    return reader, writer


async def read_end(reader: asyncio.StreamReader) -> bytes:
    """What is left to read; nothing when the connection was reset."""
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""


async def test_what_is_said_is_passed_on_both_ways_and_so_is_the_end(relay: Relay) -> None:
    reader, writer = await talk(relay)
    writer.write(b"x" * 1_000_000)
    writer.write_eof()
    assert len(await read_end(reader)) == 1_000_000
    writer.close()


async def test_a_cut_ends_both_sides_at_once(relay: Relay) -> None:
    reader, writer = await talk(relay)
    assert relay.cut(ALL) == "1 of 1"
    assert await read_end(reader) == b""
    writer.close()


async def test_a_lost_answer_was_asked_for_and_never_comes(relay: Relay) -> None:
    reader, writer = await talk(relay)
    relay.lose_answers(1)
    writer.write(b"again")
    assert await read_end(reader) == b""
    assert relay.lost == 1
    writer.close()
    _, writer = await talk(relay)
    writer.close()


async def test_who_is_left_half_open_hears_nothing_until_the_network_is_healed(relay: Relay) -> None:
    reader, writer = await talk(relay)
    relay.leave_half_open()
    writer.write(b"is somebody there?")
    hearing = asyncio.create_task(read_end(reader))
    done, _ = await asyncio.wait([hearing], timeout=0.2)
    assert not done
    relay.heal()
    assert await hearing == b""
    writer.close()


async def test_a_silent_network_delivers_everything_when_it_is_healed(relay: Relay) -> None:
    reader, writer = await talk(relay)
    relay.freeze()
    writer.write(b"later")
    hearing = asyncio.create_task(reader.readexactly(5))
    done, _ = await asyncio.wait([hearing], timeout=0.2)
    assert not done
    relay.heal()
    assert await hearing == b"later"
    writer.close()


async def test_a_slow_network_takes_its_time(relay: Relay) -> None:
    reader, writer = await talk(relay)
    relay.delay = 0.1
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.write(b"slow")
    assert await reader.readexactly(4) == b"slow"
    assert loop.time() - began >= 0.2
    writer.close()


async def test_a_target_that_does_not_answer_is_passed_over() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, open_relay(lambda: [1, port]) as relay:
        for _ in range(3):
            _, writer = await talk(relay)
            writer.close()


async def test_without_any_target_a_client_is_cut() -> None:
    async with open_relay(list) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        assert await read_end(reader) == b""
        writer.close()
        await until(lambda: writer.transport.is_closing(), "the client's side is closed")
