"""Owns the vault that encrypts with the handlers of a project: its `langgraph_sdk.Encryption`.

It fails closed: what a handler refuses is neither stored nor shown, and what no handler made is refused like anywhere.
How a value looks then is `handler_form`'s; which handlers a langgraph.json names, and their checks, `graphs`'.
"""

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from langgraph_sdk.encryption import Encryption
from langgraph_sdk.encryption.types import DecryptResult, EncryptionContext

from threadline.checkpoints.handler_form import HANDLERS, HEADER, SUFFIX, Context, pack, unpack, unwrap, wrap
from threadline.checkpoints.keyring import encode_place
from threadline.checkpoints.vault import NotSealed, Place, Tampered, UnknownKey, VaultError, sealing_context

logger = logging.getLogger("threadline.encryption")

T = TypeVar("T")
R = TypeVar("R")

# What `ctx.model` is, by table, and which fields the handlers for JSON are for; everything else is bytes to them.
MODELS = {"threads": "thread", "runs": "run", "run_events": "run", "crons": "cron", "store": "store"}
FIELDS = {("threads", "values"), ("runs", "kwargs"), ("crons", "payload"), ("crons", "kwargs"), ("store", "value")}
AT_ONCE = 16  # calls of handlers for the values of one batch
PATIENCE = 30.0  # seconds for one call: the batch of all runs of the process waits for it
_MARK_BYTES = 16
_PROOFS = "encryption_keys"


class HandlerFailed(VaultError):
    """A handler raised, took too long, or answered with what cannot be stored. Its own words are in the log only."""


class HandlerVault:
    """Seals and opens with the handlers of `encryption`; `name` is where they come from.

    Bytes carry a mark of their place through the handlers, so that a value from elsewhere is told apart. JSON goes
    through the handlers for JSON where there are some, whose result keeps its keys; else it is bytes like any other.
    """

    seals = True
    writes = HANDLERS

    def __init__(self, encryption: Encryption, name: str, *, reads_plaintext: bool = False) -> None:
        self._encryption = encryption
        self._name = name
        self.reads_plaintext = reads_plaintext

    async def seal(self, items: Sequence[tuple[Place, bytes]]) -> list[bytes]:
        """Return each value with its context, as bytes that open at its place only."""
        return await _each(self._seal, items)

    async def open(self, items: Sequence[tuple[Place, bytes]]) -> list[bytes]:
        """Return what was sealed, in the context it was sealed in."""
        return await _each(self._open, items)

    async def seal_typed(self, items: Sequence[tuple[Place, str, bytes]]) -> list[tuple[str, bytes]]:
        """Return each value with the form it has then; the form it had is part of its place."""
        sealed = await self.seal([(_with(place, kind), data) for place, kind, data in items])
        return [(kind + SUFFIX, data) for (_, kind, _), data in zip(items, sealed, strict=True)]

    async def open_typed(self, items: Sequence[tuple[Place, str, bytes]]) -> list[tuple[str, bytes]]:
        """Return each value with the form it had."""
        return await _each(self._open_typed, items)

    async def seal_json(self, items: Sequence[tuple[Place, str]]) -> list[str]:
        """Return each value as a JSON object with its context. An empty one says nothing."""
        return await _each(self._seal_json, items)

    async def open_json(self, items: Sequence[tuple[Place, Any]]) -> list[Any]:
        """Return each value as it was; None and what is empty were never sealed."""
        return await _each(self._open_json, items)

    async def _seal(self, item: tuple[Place, bytes]) -> bytes:
        place, data = item
        if place.table == _PROOFS:
            return HEADER + data  # there is no context in which handlers could be asked, and nothing to hide
        context = _context_of(place)
        return pack(context, await self._encrypt(place, context, data))

    async def _encrypt(self, place: Place, context: Context, data: bytes) -> bytes:
        handler = self._encryption._blob_encryptor
        return await self._call("encrypt.blob", handler, place, context, _mark(place) + data, bytes)

    async def _open(self, item: tuple[Place, bytes]) -> bytes:
        place, data = item[0], bytes(item[1])
        if place.table == _PROOFS:
            if not data.startswith(HEADER):
                raise UnknownKey(f"{place} is of a key, not of handlers.")
            return data[len(HEADER) :]
        found = unpack(data)
        if found is None:
            self._accept_plain(place)
            return data
        return await self._decrypt(place, *found)

    async def _decrypt(self, place: Place, context: Context, data: bytes) -> bytes:
        opened = await self._call("decrypt.blob", self._encryption._blob_decryptor, place, context, data, bytes)
        if not hmac.compare_digest(opened[:_MARK_BYTES], _mark(place)):
            raise Tampered(f"{place} is not what was encrypted there: it was moved from another place, or changed.")
        return opened[_MARK_BYTES:]

    async def _open_typed(self, item: tuple[Place, str, bytes]) -> tuple[str, bytes]:
        place, kind, data = item
        if kind.endswith(SUFFIX):
            plain = kind.removesuffix(SUFFIX)
            found = unpack(bytes(data))
            if found is None:
                raise Tampered(f"{place} is not what handlers encrypted: it was changed.")
            return plain, await self._decrypt(_with(place, plain), *found)
        if kind != "empty":
            self._accept_plain(place)
        return kind, bytes(data)

    async def _seal_json(self, item: tuple[Place, str]) -> str:
        place, text = item
        if text == "{}":
            return text
        context, handler = _context_of(place), self._encryption._json_encryptor
        value = json.loads(text) if handler is not None and (place.table, place.column) in FIELDS else None
        if not isinstance(value, dict):
            return wrap(context, await self._encrypt(place, context, text.encode("utf-8", "surrogatepass")))
        content = await self._call("encrypt.json", handler, place, context, value, dict)
        if content.keys() != value.keys():
            raise self._failed("encrypt.json", place, "added or removed keys; it may change values only")
        try:
            return wrap(context, None, content)
        except (TypeError, ValueError):
            raise self._failed("encrypt.json", place, "returned what is no JSON") from None

    async def _open_json(self, item: tuple[Place, Any]) -> Any:
        place, value = item
        if not value:
            return value
        found = unwrap(value)
        if found is None:
            self._accept_plain(place)
            return value
        context, data, content = found
        if data is not None:
            return json.loads((await self._decrypt(place, context, data)).decode("utf-8", "surrogatepass"))
        if self._encryption._json_decryptor is None:
            raise UnknownKey(
                f"{place} was encrypted by a handler for JSON; {self._name} has no `decrypt.json` any more."
            )
        return await self._call("decrypt.json", self._encryption._json_decryptor, place, context, content, dict)

    async def _call(
        self,
        which: str,
        handler: Callable[[EncryptionContext, T], Awaitable[Any]] | None,
        place: Place,
        context: Context,
        data: T,
        kind: type[R],
    ) -> R:
        """Call a handler, and return what it made. Raises HandlerFailed."""
        assert handler is not None
        told = EncryptionContext(MODELS.get(place.table, "checkpoint"), dict(context), place.column)
        try:
            async with asyncio.timeout(PATIENCE):
                made = await handler(told, data)
        except Exception as error:
            logger.exception("encryption.handler_failed", extra={"handler": which, "place": str(place)})
            raise self._failed(which, place, f"raised {type(error).__name__}") from error
        if isinstance(made, DecryptResult):
            made = made.plaintext
        if not isinstance(made, kind):
            raise self._failed(which, place, f"returned {type(made).__name__} instead of {kind.__name__}")
        return made

    def _failed(self, which: str, place: Place, what: str) -> HandlerFailed:
        return HandlerFailed(f"{place} cannot be {which[:7]}ed: the handler `{which}` of {self._name} {what}.")

    def _accept_plain(self, place: Place) -> None:
        if not self.reads_plaintext:
            raise NotSealed(
                f"{place} lies there as no handler encrypted it, which is refused. To move a database to encryption, "
                "set THREADLINE_ENCRYPTION_READ_PLAINTEXT=true until `threadline rotate` is through."
            )


async def _each(work: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """Do the work for each item, some at once, and return what came of it in their order; the first failure counts."""
    if len(items) == 1:
        return [await work(items[0])]
    places = asyncio.Semaphore(AT_ONCE)

    async def do(item: T) -> R:
        async with places:
            return await work(item)

    done = await asyncio.gather(*map(do, items), return_exceptions=True)
    results: list[R] = []
    for result in done:
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


def _context_of(place: Place) -> Mapping[str, Any]:
    return place.context if place.context is not None else sealing_context() or {}


def _mark(place: Place) -> bytes:
    return hashlib.blake2b(encode_place(place), digest_size=_MARK_BYTES).digest()


def _with(place: Place, kind: str) -> Place:
    return place._replace(key=(*place.key, kind))
