"""Owns the choice of the embedding model from the settings; what its vectors are for is left to the assistant."""

from threadline.graphs.assistant.embedder import Embedder, EmbeddingSettings, open_embedder
from threadline.settings import ModelSettings


def chosen_embedder(settings: ModelSettings) -> Embedder | None:
    """The embedder that is configured; None without a key or without its name."""
    if settings.openai_api_key is None or settings.embedding is None:
        return None
    key = settings.openai_api_key.get_secret_value()
    return open_embedder(EmbeddingSettings(key, settings.embedding, settings.openai_base_url, settings.timeout))
