"""Owns the context in which what a request stores is encrypted by handlers of the project: where it comes from.

It is kept, in plain text, beside everything that is encrypted in it, and given back to the handlers that decrypt.
"""

import json
import logging
from base64 import b64decode
from binascii import Error
from typing import Any, cast

from langgraph_sdk.encryption.types import ContextHandler, EncryptionContext

from threadline.checkpoints.vault import VaultError
from threadline.checkpoints.vault import sealing_in as sealing_in
from threadline.graphs.users import User
from threadline.runs.errors import Invalid
from threadline.runs.model import JsonObject

logger = logging.getLogger("threadline.encryption")

HEADER = "X-Encryption-Context"


def parse_context(text: str) -> JsonObject:
    """Return what the header holds, a JSON object in base64. Raises Invalid."""
    try:
        context = json.loads(b64decode(text, validate=True))
    except (Error, ValueError):
        raise Invalid(f"{HEADER}: must be a JSON object in base64") from None
    if not isinstance(context, dict):
        raise Invalid(f"{HEADER}: must be a JSON object in base64, got a {type(context).__name__}")
    return context


async def derive_context(handler: ContextHandler, user: User, given: JsonObject | None) -> JsonObject:
    """Return what the project's `@context` handler makes of who sends the request. Raises VaultError."""
    try:
        context = await handler(cast(Any, user), EncryptionContext(metadata=given))
        if not isinstance(context, dict):
            raise TypeError(f"it returned {type(context).__name__} instead of dict")
        json.dumps(context)
    except Exception as error:
        logger.exception("encryption.handler_failed", extra={"handler": "context"})
        raise VaultError(
            f"Nothing can be encrypted for this request: the handler `context` raised {type(error).__name__}."
        ) from error
    return context
