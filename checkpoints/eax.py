"""Owns reading what LangGraph's own `EncryptedSerializer` wrote: AES in EAX mode, without anything about its place.

Built from AES-CTR and CMAC, of which EAX is made; nothing is written in this form.
"""

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.cmac import CMAC

_BLOCK = 16


def open_eax(secret: bytes, sealed: bytes) -> bytes:
    """Return what was encrypted as nonce, tag and text. Raises ValueError for what this key did not write."""
    if len(sealed) < 2 * _BLOCK:
        raise ValueError("cut short")
    nonce, tag, text = sealed[:_BLOCK], sealed[_BLOCK : 2 * _BLOCK], sealed[2 * _BLOCK :]
    start = _tweaked(secret, 0, nonce)
    parts = zip(start, _tweaked(secret, 1, b""), _tweaked(secret, 2, text), strict=True)
    if not hmac.compare_digest(bytes(a ^ b ^ c for a, b, c in parts), tag):
        raise ValueError("not authentic")
    decryptor = Cipher(AES(secret), CTR(start)).decryptor()
    return decryptor.update(text) + decryptor.finalize()


def _tweaked(secret: bytes, number: int, data: bytes) -> bytes:
    code = CMAC(AES(secret))
    code.update(bytes(_BLOCK - 1) + bytes([number]) + data)
    return code.finalize()
