"""Owns what langgraph.json says of storage: how items are found by meaning, how long items and threads live.

Acting on it is the engine's, and so is the way to a service that makes vectors.
"""

from dataclasses import dataclass

from threadline.graphs.configuration import Configuration
from threadline.graphs.errors import ConfigurationError, GraphImportError
from threadline.graphs.loading import load_object
from threadline.graphs.sections import Section

# What an index of pgvector can hold, with half of the precision above 2,000.
MOST_DIMENSIONS = 4000


@dataclass(frozen=True, slots=True)
class ItemIndex:
    """Vectors of the store's items: of how many numbers, of which fields, and what makes them.

    `embed` is the text of the file; `function` is what it names, unless that is a provider's model.
    """

    dims: int
    embed: str
    function: object | None
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Storage:
    """What the file says; times are minutes, and None is what it leaves open."""

    index: ItemIndex | None = None
    refresh_on_read: bool = True
    item_ttl: float | None = None
    item_sweep: float | None = None
    thread_ttl: float | None = None
    thread_strategy: str = "delete"
    thread_sweep: float | None = None
    thread_sweep_limit: int = 1000


def read_storage(configuration: Configuration) -> Storage:
    """Check `store` and `checkpointer.ttl`, and import the function that makes vectors. Raises ConfigurationError."""
    store = _section(configuration, "store")
    checkpointer = _section(configuration, "checkpointer")
    item_ttl = (store.section("ttl") if store else None) or _empty(configuration, "store.ttl")
    thread_ttl = (checkpointer.section("ttl") if checkpointer else None) or _empty(configuration, "checkpointer.ttl")
    index = store.section("index") if store else None
    return Storage(
        index=_read_index(configuration, index) if index else None,
        refresh_on_read=item_ttl.flag("refresh_on_read", default=True),
        item_ttl=item_ttl.number("default_ttl"),
        item_sweep=item_ttl.number("sweep_interval_minutes"),
        thread_ttl=thread_ttl.number("default_ttl"),
        thread_strategy=thread_ttl.choice("strategy", ("delete", "keep_latest")),
        thread_sweep=thread_ttl.number("sweep_interval_minutes"),
        thread_sweep_limit=thread_ttl.count("sweep_limit", 1000),
    )


def _section(configuration: Configuration, name: str) -> Section | None:
    content = configuration.sections.get(name)
    return None if content is None else Section(configuration.path, name, content)


def _empty(configuration: Configuration, key: str) -> Section:
    return Section(configuration.path, key, {})


def _read_index(configuration: Configuration, index: Section) -> ItemIndex:
    dims = index.count("dims", 0, least=0)
    if not 0 < dims <= MOST_DIMENSIONS:
        raise index.wrong("dims", f"must be how many numbers a vector has, from 1 to {MOST_DIMENSIONS}")
    embed = index.text("embed")
    if embed is None:
        raise index.wrong("embed", 'must be "openai:<model>" or name a function, e.g. "./embed.py:embed"')
    fields = index.words("fields") or ("$",)
    return ItemIndex(dims, embed, _load_function(configuration, index, embed), fields)


def _load_function(configuration: Configuration, index: Section, embed: str) -> object | None:
    place, _, _ = embed.rpartition(":")
    if not place.endswith(".py") and "." not in place:
        return None
    try:
        found = load_object(configuration.path, "store.index.embed", embed)
    except GraphImportError as error:
        where = error.file if error.line is None else f"{error.file}, line {error.line}"
        raise ConfigurationError(configuration.path, "store.index.embed", f"{where}: {error.text}") from error
    if not callable(found) and not hasattr(found, "aembed_documents"):
        kind = type(found).__name__
        raise index.wrong("embed", f"{embed} is a {kind}, not a function of texts or an Embeddings object")
    return found
