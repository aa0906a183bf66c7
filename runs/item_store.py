"""Owns the store of items that graphs and clients share: LangGraph's own, made fit for many runs at once.

What a client may ask of it is `items`'. It leans on private names of the official store, which is pinned.
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, Item, Op, PutOp, Result, SearchOp, TTLConfig
from langgraph.store.postgres.aio import AsyncPostgresStore
from langgraph.store.postgres.base import PostgresIndexConfig
from psycopg import Error
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from threadline.checkpoints.pool import Pool
from threadline.checkpoints.sealing import item_place
from threadline.checkpoints.statements import load_statements
from threadline.checkpoints.vault import vault_of
from threadline.runs.errors import EmbeddingFailed, InvalidItem

logger = logging.getLogger("threadline.store")

_SQL = load_statements("threadline.runs", "item_store.sql")

_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_SEALED_VALUES: ContextVar[Mapping[tuple[str, str], Any]] = ContextVar("sealed_values")
_PREPARED: ContextVar[Mapping[str, list[float]]] = ContextVar("prepared_vectors")


@dataclass(frozen=True, slots=True)
class ItemSettings:
    """What langgraph.json says of the store. Without an index nothing is found by meaning."""

    index: PostgresIndexConfig | None = None
    refresh_on_read: bool = True
    default_ttl: float | None = None  # minutes
    sweep_interval: timedelta = timedelta(minutes=5)


class ItemStore(AsyncPostgresStore):
    """LangGraph's Postgres store with pool size as its concurrency.

    Each call is its own: the official one lines all of a process up behind one task, where one that fails takes the
    others along. Vectors are made before a connection is taken. Items whose time is over are not there.
    """

    def __init__(self, pool: Pool, settings: ItemSettings, *, pooler: bool = False) -> None:
        ttl: TTLConfig = {"omit_expired": True, "refresh_on_read": settings.refresh_on_read}
        if settings.default_ttl is not None:
            ttl["default_ttl"] = settings.default_ttl
        super().__init__(pool, index=settings.index, ttl=ttl)  # type: ignore[arg-type]  # it asks each cursor for dict rows itself
        self._vault = vault_of(pool)
        self.supports_pipeline = self.supports_pipeline and not pooler
        self._sweep_interval = settings.sweep_interval
        self._makes: Embeddings | None = self.embeddings
        if self._makes is not None:
            self.embeddings = _Prepared()

    # Not by way of the queue of `AsyncBatchedBaseStore`.
    aget = BaseStore.aget
    asearch = BaseStore.asearch
    aput = BaseStore.aput
    adelete = BaseStore.adelete
    alist_namespaces = BaseStore.alist_namespaces

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do these at once, all of them or none. Raises EmbeddingFailed, and ValueError for an unknown operator."""
        wanted = [_with_plain_filter(op) if isinstance(op, SearchOp) else op for op in ops]
        for op in wanted:
            if isinstance(op, SearchOp) and op.filter and self._vault.seals:
                raise InvalidItem("Items cannot be filtered by what they hold: it is encrypted. Leave filter out.")
        vectors = _PREPARED.set({} if self._makes is None else await self._embed(self._texts(wanted)))
        sealed = _SEALED_VALUES.set(await self._seal([op for op in wanted if isinstance(op, PutOp)]))
        try:
            return await self._open(await super().abatch(wanted))
        finally:
            _SEALED_VALUES.reset(sealed)
            _PREPARED.reset(vectors)

    async def _seal(self, puts: Sequence[PutOp]) -> Mapping[tuple[str, str], Any]:
        if not self._vault.seals:
            return {}
        values = {(".".join(op.namespace), op.key): op.value for op in puts if op.value is not None}
        items = [(item_place(*key), json.dumps(value)) for key, value in values.items()]
        return dict(zip(values, map(json.loads, await self._vault.seal_json(items)), strict=True))

    async def _open(self, results: list[Result]) -> list[Result]:
        """Open, in place, the items among the results."""
        if not self._vault.seals:
            return results
        lists = [result if isinstance(result, list) else [result] for result in results]
        items = [item for found in lists for item in found if isinstance(item, Item)]
        places = [(item_place(".".join(item.namespace), item.key), item.value) for item in items]
        for item, value in zip(items, await self._vault.open_json(places), strict=True):
            item.value = value
        return results

    async def close(self) -> None:
        """End the official store's task, which does nothing here; nobody else ends it while the loop still runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def sweep_for_ever(self) -> None:
        """Delete items whose time is over, now and then."""
        while True:
            await asyncio.sleep(self._sweep_interval.total_seconds())
            try:
                if swept := await self.sweep_ttl():
                    logger.info("store.swept", extra={"items": swept})
            except (Error, PoolTimeout, OSError) as error:
                logger.warning("store.retry", extra={"error": repr(error)})

    def _texts(self, ops: Sequence[Op]) -> list[str]:
        puts = [(place, op) for place, op in enumerate(ops) if isinstance(op, PutOp)]
        _, request = self._prepare_batch_PUT_queries(puts)
        texts = [text for *_, text in request[1]] if request else []
        texts += [op.query for op in ops if isinstance(op, SearchOp) and op.query]
        return list(dict.fromkeys(texts))

    async def _embed(self, texts: list[str]) -> dict[str, list[float]]:
        if not texts or self._makes is None or self.index_config is None:
            return {}
        try:
            vectors = await self._makes.aembed_documents(texts)
        except Exception as error:  # a service's client, or a project's own function
            raise EmbeddingFailed(f"store.index.embed made no vectors: {type(error).__name__}: {error}") from error
        dims = self.index_config["dims"]
        if len(vectors) != len(texts) or any(len(vector) != dims for vector in vectors):
            lengths = sorted({len(vector) for vector in vectors})
            raise EmbeddingFailed(
                f"store.index.embed made {len(vectors)} vectors of {lengths} numbers for {len(texts)} texts; "
                f"store.index.dims is {dims}"
            )
        return dict(zip(texts, vectors, strict=True))

    def _prepare_batch_PUT_queries(self, put_ops: Sequence[tuple[int, PutOp]]) -> Any:
        queries, request = super()._prepare_batch_PUT_queries(put_ops)
        if sealed := _SEALED_VALUES.get({}):
            queries = [(query, _with_sealed(parameters, sealed)) for query, parameters in queries]
        put = [op for _, op in put_ops if op.value is not None]
        if self.index_config and put:
            keys = [".".join(op.namespace) for op in put], [op.key for op in put]
            queries.insert(0, (_SQL["forget_vectors"], keys))
        return queries, request

    def _get_filter_condition(self, key: str, op: str, value: Any) -> tuple[str, list[Any]]:
        """The official one compares numbers as texts, and finds nothing unlike what is not there."""
        wanted = orjson.dumps(value).decode()
        if op == "$ne":
            return "value->%s is distinct from %s::jsonb", [key, wanted]
        if comparison := _COMPARISONS.get(op):
            same_kind = "jsonb_typeof(value->%s) = jsonb_typeof(%s::jsonb)"
            return f"({same_kind} and value->%s {comparison} %s::jsonb)", [key, wanted, key, wanted]
        return super()._get_filter_condition(key, op, value)


def _with_sealed(parameters: Sequence[Any], sealed: Mapping[tuple[str, str], Any]) -> list[Any]:
    """Put sealed values in the place of items' own: each comes behind its namespace and its key."""
    changed = list(parameters)
    for place, parameter in enumerate(parameters):
        if isinstance(parameter, Jsonb):
            changed[place] = Jsonb(sealed[parameters[place - 2], parameters[place - 1]])
    return changed


class _Prepared(Embeddings):
    """Hands over the vectors that were made before."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        prepared = _PREPARED.get()
        return [prepared[text] for text in texts]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return _PREPARED.get()[text]


def _with_plain_filter(op: SearchOp) -> SearchOp:
    """Let an object that names no operator be a value that is looked for."""
    if not op.filter:
        return op
    return op._replace(filter={key: _operators(value) for key, value in op.filter.items()})


def _operators(value: Any) -> Any:
    is_plain = isinstance(value, dict) and not any(str(name).startswith("$") for name in value)
    return {"$eq": value} if is_plain else value
