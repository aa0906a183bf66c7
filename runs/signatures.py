"""Owns how a webhook is signed, by the scheme of Standard Webhooks. Where it goes, and when, is left to the courier."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with each of `keys`, so that a receiver that knows any of them is content. Without keys nothing is signed.

    The keys are in no text that is made of this.
    """

    keys: tuple[bytes, ...] = field(default=(), repr=False)

    def headers(self, webhook_id: UUID, moment: datetime, body: bytes) -> Mapping[str, str]:
        """Return the headers that say which webhook this is, when it was sent, and that we sent it."""
        seconds = str(int(moment.timestamp()))
        headers = {"webhook-id": str(webhook_id), "webhook-timestamp": seconds}
        if self.keys:
            signed = b".".join((str(webhook_id).encode(), seconds.encode(), body))
            headers["webhook-signature"] = " ".join(_sign(key, signed) for key in self.keys)
        return headers


def make_signer(secrets: Iterable[str]) -> Signer:
    """Return the signer for secrets as settings have them: `whsec_` and the key in base64."""
    return Signer(tuple(b64decode(secret.removeprefix(PREFIX)) for secret in secrets))


def _sign(key: bytes, signed: bytes) -> str:
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()
