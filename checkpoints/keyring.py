"""Owns the keys that data is sealed with, and the form of what is sealed: AES-256-GCM, authenticated with its place.

A sealed value names its key, and carries a salt from which, with that key, the key it was encrypted with is made: each
process makes a new one after a million values, where random nonces under one key would have to stop at 2^32. Which
values are sealed is `sealing`'s, how they are stored `aes_vault`'s.
"""

import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from threadline.checkpoints.vault import Place, Tampered, UnknownKey

MAGIC = b"\0TL1"  # no JSON text begins like this
OF_LANGGRAPH = "langgraph"  # the id of the key that is made from LANGGRAPH_AES_KEY
KEY_BYTES = 32
_SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 12, 16
KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_PURPOSE = b"threadline aes-256-gcm 1"
_VALUES_PER_SALT = 1_000_000
_REMEMBERED = 1024  # ciphers; a process writes with one and meets those of the processes before it


class Keyring:
    """Keys by id; the one of `writes` seals, all open."""

    def __init__(self, keys: Mapping[str, bytes], writes: str) -> None:
        self._keys = keys
        self.writes = writes
        self._header = make_header(writes)
        self._salt = b""
        self._left = 0  # values that the salt is still good for
        self._ciphers: dict[tuple[str, bytes], AESGCM] = {}  # those that opened or sealed something last

    @property
    def ids(self) -> list[str]:
        """The ids of the keys, the one that seals first."""
        return [self.writes, *(key_id for key_id in self._keys if key_id != self.writes)]

    def seal(self, place: Place, data: bytes) -> bytes:
        """Return `data` as it can be opened at `place` only."""
        if self._left <= 0:
            self._salt, self._left = urandom(_SALT_BYTES), _VALUES_PER_SALT
        self._left -= 1
        nonce = urandom(_NONCE_BYTES)
        sealed = self._cipher(self.writes, self._salt).encrypt(nonce, data, self._header + encode_place(place))
        return b"".join((self._header, self._salt, nonce, sealed))

    def open(self, place: Place, sealed: bytes) -> bytes:
        """Return what was sealed. Raises UnknownKey, and Tampered."""
        key_id, start = read_key_id(place, sealed)
        if key_id not in self._keys:
            raise UnknownKey(
                f"{place} is encrypted with the key {key_id!r}, which is not among the keys of this process "
                f"({', '.join(self.ids)}). Add it to THREADLINE_ENCRYPTION_KEYS, behind the first one."
            )
        salt = sealed[start : start + _SALT_BYTES]
        nonce = sealed[start + _SALT_BYTES : start + _SALT_BYTES + _NONCE_BYTES]
        rest = sealed[start + _SALT_BYTES + _NONCE_BYTES :]
        try:
            return self._cipher(key_id, salt).decrypt(nonce, rest, sealed[:start] + encode_place(place))
        except (InvalidTag, ValueError):
            raise Tampered(
                f"{place} is not what was encrypted there with the key {key_id!r}: it was changed, was moved from "
                "another place, or the key of that id is another one now."
            ) from None

    def _cipher(self, key_id: str, salt: bytes) -> AESGCM:
        cipher = self._ciphers.get((key_id, salt))
        if cipher is None:
            if len(self._ciphers) >= _REMEMBERED:
                self._ciphers.clear()
            cipher = AESGCM(hmac.digest(self._keys[key_id], _PURPOSE + salt, "sha256"))
            self._ciphers[key_id, salt] = cipher
        return cipher


def make_header(key_id: str) -> bytes:
    """Return what a value begins with that was sealed with this key."""
    name = key_id.encode()
    return MAGIC + bytes([len(name)]) + name


def read_key_id(place: Place, sealed: bytes) -> tuple[str, int]:
    """Return the id of the key a value was sealed with, and where its salt begins. Raises Tampered."""
    length = sealed[len(MAGIC)] if len(sealed) > len(MAGIC) else 0
    start = len(MAGIC) + 1 + length
    if not length or len(sealed) < start + _SALT_BYTES + _NONCE_BYTES + _TAG_BYTES:
        raise Tampered(f"{place} is cut short: it has {len(sealed)} bytes.")
    return sealed[len(MAGIC) + 1 : start].decode("ascii", "replace"), start


def read_keys(text: str) -> dict[str, bytes]:
    """Read `id:base64,...`, 32 bytes each. Raises ValueError, which does not repeat the keys."""
    keys: dict[str, bytes] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key_id, colon, encoded = entry.partition(":")
        if not colon or not KEY_ID.fullmatch(key_id):
            raise ValueError("each key is id:base64, the id of up to 32 letters, digits, dots and dashes")
        if key_id in keys or key_id == OF_LANGGRAPH:
            raise ValueError(f"the id {key_id!r} is taken")
        try:
            keys[key_id] = b64decode(encoded, validate=True)
        except Error:
            raise ValueError(f"the key {key_id!r} is no base64") from None
        if len(keys[key_id]) != KEY_BYTES:
            raise ValueError(f"the key {key_id!r} has {len(keys[key_id])} bytes instead of {KEY_BYTES}")
    if not keys:
        raise ValueError("there is no key in it")
    return keys


def derive_key(secret: bytes) -> bytes:
    """Make a key of ours from one that LangGraph's own cipher uses, so that the two never use the same."""
    return hmac.digest(secret, b"threadline from LANGGRAPH_AES_KEY", "sha256")


def make_key(key_id: str) -> str:
    """Return a new random key as THREADLINE_ENCRYPTION_KEYS takes it."""
    return f"{key_id}:{b64encode(urandom(KEY_BYTES)).decode()}"


def encode_place(place: Place) -> bytes:
    """Each part behind its length, so that no two places read the same."""
    parts = (place.table, place.column, *place.key)
    return b"".join(b"%d:%b" % (len(part), part) for part in (each.encode("utf-8", "surrogatepass") for each in parts))
