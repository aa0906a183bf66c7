"""Owns the event-streaming protocol over a WebSocket: commands and subscriptions in, their answers and events out.

What commands do is `protocol_commands`' business, apart from those about subscriptions, which live here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from threadline.api.departures import Stopping
from threadline.api.errors import known_error
from threadline.api.event_stream import failure_message
from threadline.api.protocol_answers import INVALID, Answer, CommandRefused, read_command, refusal
from threadline.api.protocol_commands import Commands
from threadline.runs.channels import Filter, read_filter, read_number
from threadline.runs.encoding import encode
from threadline.runs.engine import Engine
from threadline.runs.envelopes import Envelopes
from threadline.runs.errors import CursorTrimmed, RunError, ThreadGone
from threadline.runs.feed import Feed
from threadline.runs.model import JsonObject

MAX_SUBSCRIPTIONS = 100
GOING_AWAY = 1012  # "service restart": clients come back
GONE = 4410  # 4000 plus the status, which is how a client reads one here
CATCH_UP = 10.0  # seconds that replaying waits for the log to say what it has


class EventSocket:
    """One connection to a thread: each event is sent once, if one of its subscriptions wants it."""

    def __init__(self, socket: WebSocket, thread_id: UUID, engine: Engine, stopping: Stopping) -> None:
        self._socket = socket
        self._thread_id = thread_id
        self._commands = Commands(engine)
        self._engine = engine
        self._stopping = stopping
        self._subscriptions: dict[str, Filter] = {}
        self._place = 0  # the number of the last event of the log that was looked at
        self._sending = asyncio.Lock()
        self._wanted = asyncio.Event()

    async def serve(self) -> None:
        """Serve the connection until either side ends it."""
        await self._socket.accept()
        stopped = asyncio.Event()
        self._stopping.watch(stopped.set)
        jobs: list[Callable[[], Awaitable[Any]]] = [self._take_commands, self._send_events, stopped.wait]
        tasks = [asyncio.ensure_future(job()) for job in jobs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.unwatch(stopped.set)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        await self._close(stopped.is_set(), results)

    async def _close(self, stopped: bool, results: list[Any]) -> None:
        if self._socket.client_state is WebSocketState.DISCONNECTED:
            return
        failed = next((each for each in results if isinstance(each, RunError)), None)
        with suppress(RuntimeError, WebSocketDisconnect):  # the client was faster
            if failed is not None:
                await self._socket.send_text(failure_message(failed).decode())
                await self._socket.close(GONE if isinstance(failed, ThreadGone | CursorTrimmed) else 1011)
            else:
                await self._socket.close(GOING_AWAY if stopped else 1011)
        for error in results:
            if isinstance(error, Exception) and not isinstance(error, RunError | WebSocketDisconnect):
                raise error

    async def _take_commands(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            answer = await self._answer(text.encode() if text is not None else message.get("bytes") or b"")
            answer.meta.setdefault("applied_through_seq", self._place)
            async with self._sending:
                await self._socket.send_text(encode(answer.full).decode())

    async def _answer(self, text: bytes) -> Answer:
        try:
            given = orjson.loads(text)
        except orjson.JSONDecodeError:
            return refusal(None, CommandRefused(INVALID, "Protocol commands must be valid JSON."))
        command = read_command(given)
        if isinstance(command, Answer):
            return command
        try:
            match command.method:
                case "subscription.subscribe":
                    return command.succeed(await self._subscribe(command.params))
                case "subscription.reconnect":
                    return command.succeed(await self._reconnect(command.params))
                case "subscription.unsubscribe":
                    return command.succeed(self._unsubscribe(command.params))
        except CommandRefused as error:
            return refusal(command.id, error)
        except RunError as error:
            return refusal(command.id, CommandRefused(INVALID, str(error)))
        try:
            return await self._commands.run(self._thread_id, command)
        except Exception as error:  # the database is away, say: the connection outlives that
            response = known_error(error)
            if response is None:
                raise
            return refusal(command.id, CommandRefused("unknown_error", f"{response.status_code}: {error}"))

    async def _subscribe(self, params: JsonObject) -> JsonObject:
        if not params.get("channels"):
            raise CommandRefused(INVALID, "subscription.subscribe requires a non-empty channels array.")
        wanted, since = read_filter(params), read_number(params, "since") or 0
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise CommandRefused(INVALID, f"A connection has at most {MAX_SUBSCRIPTIONS} subscriptions.")
        async with self._sending:
            replayed = await self._replay(wanted, since)
            subscription_id = str(uuid4())
            self._subscriptions[subscription_id] = wanted
        self._wanted.set()
        return {"subscription_id": subscription_id, "replayed_events": replayed}

    async def _reconnect(self, params: JsonObject) -> JsonObject:
        """Subscribe again behind the last event the client has, which it names by number or by id."""
        since = read_number(params, "since")
        event_id = params.get("last_event_id")
        if since is None and isinstance(event_id, str) and event_id.rpartition("-")[2].isdigit():
            since = int(event_id.rpartition("-")[2])
        if since is None:
            raise CommandRefused(INVALID, "subscription.reconnect requires a non-negative integer since.")
        made = await self._subscribe({**params, "since": since})
        return {**made, "restored": True, "missed_events": made["replayed_events"]}

    def _unsubscribe(self, params: JsonObject) -> JsonObject:
        name = params.get("subscription_id")
        if not isinstance(name, str) or self._subscriptions.pop(name, None) is None:
            raise CommandRefused("no_such_subscription", f"Unknown subscription: {name}")
        return {}

    async def _replay(self, wanted: Filter, since: int) -> int:
        """Send what one filter wants of the events that the connection is past already; return how many."""
        if not self._wanted.is_set():
            self._place = since  # the first one: the connection's own reading begins there
            return 0
        envelopes, place, count = Envelopes(), since, 0
        async with self._feed(since) as feed:
            while place < self._place:
                rows = await feed.next_rows(CATCH_UP)
                if not rows:
                    break
                for row in rows:
                    for each in envelopes.read(row, since, wanted):
                        if each.seq <= self._place:
                            await self._socket.send_text(each.body.decode())
                            count += 1
                    place = row.last_seq
        return count

    def _feed(self, after: int) -> Feed:
        return Feed(self._engine.pool, self._engine.tails, self._thread_id, after)

    async def _send_events(self) -> None:
        await self._wanted.wait()
        envelopes = Envelopes()
        async with self._feed(self._place) as feed:
            self._place = feed.after
            while True:
                for row in await feed.next_rows(60.0):
                    async with self._sending:
                        for each in envelopes.read(row, self._place, *self._subscriptions.values()):
                            await self._socket.send_text(each.body.decode())
                        self._place = row.last_seq
