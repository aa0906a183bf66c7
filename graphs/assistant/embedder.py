"""Owns the way from texts to vectors, through an OpenAI-compatible service. What they are for is left to others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

BATCH = 64
# A model reads some 8,000 tokens; a passage has 300, and no language needs a token for less than a character.
MAX_CHARACTERS = 6000


class EmbeddingFailed(RuntimeError):
    """The service gave no usable vectors; the message says what it did."""


@dataclass(frozen=True, slots=True)
class EmbeddingSettings:
    """How to reach the service. Without `base_url` it is OpenAI's own."""

    api_key: str = field(repr=False)
    model: str
    base_url: str | None = None
    timeout: timedelta = timedelta(seconds=60)


class Embedder(Protocol):
    """Makes vectors of texts; those of one model can be compared with each other."""

    model: str

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, all of one length. Raises EmbeddingFailed."""


def open_embedder(settings: EmbeddingSettings) -> Embedder:
    """The embedder of a service; nothing is asked of it yet."""
    return _OpenAIEmbedder(settings)


class _OpenAIEmbedder:
    def __init__(self, settings: EmbeddingSettings) -> None:
        # Imported here because it takes half a second, which an offline process need not pay.
        from langchain_openai import OpenAIEmbeddings
        from pydantic import SecretStr

        self.model = settings.model
        self._service = OpenAIEmbeddings(
            model=settings.model,
            openai_api_key=SecretStr(settings.api_key),
            openai_api_base=settings.base_url,
            request_timeout=settings.timeout.total_seconds(),
            max_retries=2,
            chunk_size=BATCH,
            # Sent as text: services other than OpenAI's do not know its tokens.
            check_embedding_ctx_length=False,
        )

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        from threadline.graphs.assistant.faults import FAULTS, understand

        try:
            vectors = await self._service.aembed_documents([text[:MAX_CHARACTERS] or " " for text in texts])
        except FAULTS as error:
            raise EmbeddingFailed(f"the embedding model {self.model} {understand(error).did}") from error
        if len(vectors) != len(texts) or not _are_vectors(vectors):
            raise EmbeddingFailed(f"the embedding model {self.model} sent what are no vectors of {len(texts)} texts")
        return vectors


def _are_vectors(vectors: Sequence[Sequence[object]]) -> bool:
    lengths = {len(vector) for vector in vectors}
    return len(lengths) <= 1 and 0 not in lengths and all(_is_number(each) for vector in vectors for each in vector)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
