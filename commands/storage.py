"""Owns how what langgraph.json says of storage becomes what the engine is handed: times, and what makes vectors."""

from datetime import timedelta
from typing import Any

from threadline.checkpoints.item_vectors import index_config
from threadline.graphs.configuration import Configuration
from threadline.graphs.errors import ConfigurationError
from threadline.graphs.storage import ItemIndex, Storage, read_storage
from threadline.runs.item_store import ItemSettings
from threadline.runs.model import Ttl, TtlStrategy
from threadline.runs.retention import ThreadLifetimes
from threadline.settings import ModelSettings

_EVERY = timedelta(minutes=5)
OPENAI = "openai"


def item_settings(configuration: Configuration, storage: Storage, model: ModelSettings) -> ItemSettings:
    """Return how the store keeps items. Raises ConfigurationError for an index that nothing can make vectors for."""
    index = storage.index
    return ItemSettings(
        index=index_config(index.dims, list(index.fields), _embed(configuration, index, model)) if index else None,
        refresh_on_read=storage.refresh_on_read,
        default_ttl=storage.item_ttl,
        sweep_interval=_minutes(storage.item_sweep),
    )


def thread_lifetimes(storage: Storage) -> ThreadLifetimes:
    """Return how long threads live."""
    default = None if storage.thread_ttl is None else Ttl(storage.thread_ttl, TtlStrategy(storage.thread_strategy))
    return ThreadLifetimes(default, _minutes(storage.thread_sweep), storage.thread_sweep_limit)


def read_all(configuration: Configuration, model: ModelSettings) -> tuple[ThreadLifetimes, ItemSettings]:
    """Return both. Raises ConfigurationError."""
    storage = read_storage(configuration)
    return thread_lifetimes(storage), item_settings(configuration, storage, model)


def _minutes(number: float | None) -> timedelta:
    return _EVERY if number is None else timedelta(minutes=number)


def _embed(configuration: Configuration, index: ItemIndex, model: ModelSettings) -> Any:
    """Return the project's function, or the client of the service that `provider:model` names."""
    if index.function is not None:
        return index.function
    provider, _, name = index.embed.partition(":")
    if provider != OPENAI or not name:
        return _by_langchain(configuration, index.embed)
    if model.openai_api_key is None:
        raise ConfigurationError(configuration.path, "store.index.embed", f"{index.embed} needs OPENAI_API_KEY")
    # Imported here because it takes half a second, which others need not pay.
    from langchain_openai import OpenAIEmbeddings

    return OpenAIEmbeddings(
        model=name,
        openai_api_key=model.openai_api_key,
        openai_api_base=model.openai_base_url,
        request_timeout=model.timeout.total_seconds(),
        max_retries=2,
        # Sent as text: services other than OpenAI's do not know its tokens.
        check_embedding_ctx_length=False,
    )


def _by_langchain(configuration: Configuration, embed: str) -> Any:
    """Other providers are `langchain`'s to know, where a project has it installed."""
    from langgraph.store.base.embed import ensure_embeddings

    try:
        return ensure_embeddings(embed)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(configuration.path, "store.index.embed", str(error)) from error
