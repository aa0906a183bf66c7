"""Owns the vault that encrypts with keys of ours: how sealed values look in columns of bytes and of JSON.

It fails closed: what is not sealed is refused, unless plain text is explicitly accepted while a database is moved.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from threadline.checkpoints.eax import open_eax
from threadline.checkpoints.keyring import MAGIC, OF_LANGGRAPH, Keyring, derive_key, make_header, read_keys
from threadline.checkpoints.vault import NotSealed, Place, Tampered, UnknownKey

T = TypeVar("T")

CIPHER = "+aesgcm"  # behind the form of a sealed value, as LangGraph marks its own with `+aes`
SEALED = "$sealed"  # the one key of a sealed JSON value
_OF_LANGGRAPH = "+aes"
LARGE_BYTES = 256 * 1024  # what takes longer than a turn of the event loop may is done beside it


class AesVault:
    """Seals with the keyring's first key and opens with all of them.

    `reads_plaintext` accepts what is not sealed; `langgraph_key` opens what LangGraph's own serialiser encrypted.
    """

    seals = True

    def __init__(self, keyring: Keyring, *, reads_plaintext: bool = False, langgraph_key: bytes | None = None) -> None:
        self.keyring = keyring
        self.reads_plaintext = reads_plaintext
        self._langgraph_key = langgraph_key

    @property
    def writes(self) -> str:
        """The id of the key that seals."""
        return self.keyring.writes

    async def seal(self, items: Sequence[tuple[Place, bytes]]) -> list[bytes]:
        """Return each value as bytes that open at its place only."""
        seal = self.keyring.seal
        return await _do(lambda: [seal(place, data) for place, data in items], sum(len(data) for _, data in items))

    async def open(self, items: Sequence[tuple[Place, bytes]]) -> list[bytes]:
        """Return what was sealed."""
        return await _do(lambda: [self._open(place, data) for place, data in items], sum(len(d) for _, d in items))

    async def seal_typed(self, items: Sequence[tuple[Place, str, bytes]]) -> list[tuple[str, bytes]]:
        """Return each value with the form it has then; the form it had is part of what is authenticated."""
        sealed = await self.seal([(_with(place, kind), data) for place, kind, data in items])
        return [(kind + CIPHER, data) for (_, kind, _), data in zip(items, sealed, strict=True)]

    async def open_typed(self, items: Sequence[tuple[Place, str, bytes]]) -> list[tuple[str, bytes]]:
        """Return each value with the form it had."""
        size = sum(len(data) for _, _, data in items)
        return await _do(lambda: [self._open_typed(*item) for item in items], size)

    async def seal_json(self, items: Sequence[tuple[Place, str]]) -> list[str]:
        """Return each value as a JSON object that holds nothing but the sealed text. An empty one says nothing."""
        texts = [(place, text.encode("utf-8", "surrogatepass")) for place, text in items if text != "{}"]
        sealed = iter(await self.seal(texts))
        return [text if text == "{}" else self._wrap(next(sealed)) for _, text in items]

    async def open_json(self, items: Sequence[tuple[Place, Any]]) -> list[Any]:
        """Return each value as it was; None and what is empty were never sealed."""
        return [self._open_json(place, value) if value else value for place, value in items]

    def _open(self, place: Place, data: bytes) -> bytes:
        data = bytes(data)
        if data.startswith(MAGIC):
            return self.keyring.open(place, data)
        self._accept_plain(place)
        return data

    def _open_typed(self, place: Place, kind: str, data: bytes) -> tuple[str, bytes]:
        if kind.endswith(CIPHER):
            plain = kind.removesuffix(CIPHER)
            return plain, self.keyring.open(_with(place, plain), bytes(data))
        if kind.endswith(_OF_LANGGRAPH):
            return kind.removesuffix(_OF_LANGGRAPH), self._open_foreign(place, bytes(data))
        if kind != "empty":
            self._accept_plain(place)
        return kind, bytes(data)

    def _open_foreign(self, place: Place, data: bytes) -> bytes:
        if self._langgraph_key is None:
            raise UnknownKey(
                f"{place} was encrypted by LangGraph's EncryptedSerializer. Set LANGGRAPH_AES_KEY to the key it had."
            )
        if not self.reads_plaintext:
            # Nothing says where it belongs: like plain text, anybody who can write could have put it there.
            raise NotSealed(
                f"{place} was encrypted by LangGraph's EncryptedSerializer, which does not bind it to its place. "
                "Set THREADLINE_ENCRYPTION_READ_PLAINTEXT=true until `threadline rotate` has encrypted it anew."
            )
        try:
            return open_eax(self._langgraph_key, data)
        except ValueError:
            raise Tampered(f"{place} was not encrypted with LANGGRAPH_AES_KEY, or was changed since.") from None

    def _open_json(self, place: Place, value: Any) -> Any:
        sealed = read_sealed(value)
        if sealed is None:
            self._accept_plain(place)
            return value
        return json.loads(self.keyring.open(place, sealed).decode("utf-8", "surrogatepass"))

    def _accept_plain(self, place: Place) -> None:
        if not self.reads_plaintext:
            raise NotSealed(
                f"{place} lies there in plain text, which is refused. To move a database to encryption, set "
                "THREADLINE_ENCRYPTION_READ_PLAINTEXT=true until `threadline rotate` is through."
            )

    def _wrap(self, sealed: bytes) -> str:
        header = len(make_header(self.keyring.writes))
        return f'{{"{SEALED}":"{self.keyring.writes}:{b64encode(sealed[header:]).decode()}"}}'


def read_sealed(value: Any) -> bytes | None:
    """Return the sealed bytes that a JSON value holds, None for one that is not sealed."""
    if not isinstance(value, dict) or value.keys() != {SEALED} or not isinstance(value[SEALED], str):
        return None
    key_id, _, encoded = value[SEALED].partition(":")
    try:
        return make_header(key_id) + b64decode(encoded, validate=True)
    except (Error, ValueError):
        return None


def make_vault(keys: str | None, langgraph_key: str | None, *, reads_plaintext: bool) -> AesVault | None:
    """Return the vault of these settings, None where there is no key. Raises ValueError."""
    ring = read_keys(keys) if keys else {}
    foreign = langgraph_key.encode() if langgraph_key else None
    if foreign is not None:
        if len(foreign) not in (16, 24, 32):
            raise ValueError("LANGGRAPH_AES_KEY must be 16, 24 or 32 bytes long")
        ring[OF_LANGGRAPH] = derive_key(foreign)
    if not ring:
        return None
    return AesVault(Keyring(ring, next(iter(ring))), reads_plaintext=reads_plaintext, langgraph_key=foreign)


async def _do(work: Callable[[], T], size: int) -> T:
    return work() if size < LARGE_BYTES else await asyncio.to_thread(work)


def _with(place: Place, kind: str) -> Place:
    return place._replace(key=(*place.key, kind))
