"""Owns handlers of a project as tests name them in a langgraph.json: a key for each tenant, and refusals on demand."""

import hashlib
import json
import warnings
from base64 import b64decode, b64encode
from os import urandom
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from langgraph_sdk import Encryption, EncryptionContext

TENANTS = ("ann", "bob")
REFUSED = "answer no"  # what no handler encrypts
PREFIX = "sealed:"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it may change, they say
    encryption, only_blobs, half, strange, asking = (Encryption() for _ in range(5))


def _cipher(ctx: EncryptionContext) -> AESGCM:
    tenant = ctx.metadata.get("tenant")
    if tenant not in TENANTS:
        raise PermissionError(f"no key for {tenant!r}, which is nobody's business")
    return AESGCM(hashlib.sha256(str(tenant).encode()).digest())


def _seal(ctx: EncryptionContext, data: bytes) -> bytes:
    if REFUSED.encode() in data:
        raise ValueError(f"not this: {data!r}")
    nonce = urandom(12)
    return nonce + _cipher(ctx).encrypt(nonce, data, b"")


@encryption.encrypt.blob
@only_blobs.encrypt.blob
@half.encrypt.blob
@strange.encrypt.blob
@asking.encrypt.blob
async def encrypt_blob(ctx: EncryptionContext, data: bytes) -> bytes:
    return _seal(ctx, data)


@encryption.decrypt.blob
@only_blobs.decrypt.blob
@strange.decrypt.blob
@asking.decrypt.blob
async def decrypt_blob(ctx: EncryptionContext, data: bytes) -> bytes:
    return _cipher(ctx).decrypt(data[:12], data[12:], b"")


@encryption.encrypt.json
async def encrypt_json(ctx: EncryptionContext, data: dict[str, Any]) -> dict[str, Any]:
    return {key: PREFIX + b64encode(_seal(ctx, json.dumps(value).encode())).decode() for key, value in data.items()}


@encryption.decrypt.json
async def decrypt_json(ctx: EncryptionContext, data: dict[str, Any]) -> dict[str, Any]:
    opened = {}
    for key, value in data.items():
        sealed = b64decode(value.removeprefix(PREFIX))
        opened[key] = json.loads(_cipher(ctx).decrypt(sealed[:12], sealed[12:], b""))
    return opened


@strange.encrypt.json
async def consolidate(ctx: EncryptionContext, data: dict[str, Any]) -> dict[str, Any]:
    return {"everything": b64encode(_seal(ctx, json.dumps(data).encode())).decode()}


@strange.decrypt.json
async def scatter(ctx: EncryptionContext, data: dict[str, Any]) -> dict[str, Any]:
    return data


@encryption.context
@asking.context
async def of_the_user(user: Any, ctx: EncryptionContext) -> dict[str, Any]:
    return {"tenant": user.identity, **ctx.metadata}
