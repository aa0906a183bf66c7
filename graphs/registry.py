"""Owns the graphs a process can run: each imported once, each handed out as a copy bound to a saver and store.

Running the copy is left to `runs`. A graph that cannot be imported stands aside with its error; the others run.
"""

import copy
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore
from langgraph_sdk.auth.types import BaseUser
from langgraph_sdk.runtime import AccessContext

from threadline.graphs.allowlist import Allowlist, schema_allowlist
from threadline.graphs.code import code_hash
from threadline.graphs.configuration import Configuration, GraphSource, OnVersionChange
from threadline.graphs.errors import GraphImportError, NotAGraph, UnknownGraph
from threadline.graphs.factories import Call, Factory, Graph, as_graph, read_factory
from threadline.graphs.identity import system_assistant_id
from threadline.graphs.loading import PACKAGE_ROOT, load_variable, place_of, put_on_path
from threadline.graphs.versions import Version, make_version

__all__ = [
    "Graph",
    "GraphImportError",
    "NotAGraph",
    "Registry",
    "Saver",
    "UnknownGraph",
    "system_assistant_id",
]

logger = logging.getLogger("threadline.graphs")

Saver = BaseCheckpointSaver[Any]
# Takes a thread's old values and what has changed, and returns values, a Command with `update` and `goto`, or None.
Migrate = Callable[[dict[str, Any], Mapping[str, Any]], Any]

# LangGraph's name for a graph that was compiled without one.
_UNNAMED = "LangGraph"


class Registry:
    """The graphs of one langgraph.json.

    Making it imports them, after putting the configuration's folders at the front of `sys.path`. It never
    raises for a graph: see `errors`.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._graphs: dict[str, Graph | Factory] = {}
        self._allowlists: dict[str, Allowlist] = {}
        self._versions: dict[str, Version] = {}
        self._codes: dict[str, str] = {}
        self._migrations: dict[str, Migrate] = {}
        self._errors: dict[str, GraphImportError] = {}
        put_on_path([*configuration.folders, configuration.folder])
        for source in configuration.graphs.values():
            self._load(source)

    @property
    def graph_ids(self) -> tuple[str, ...]:
        """All graphs in langgraph.json's order, those that failed to import included."""
        return tuple(self._configuration.graphs)

    @property
    def errors(self) -> Mapping[str, GraphImportError]:
        """Why a graph could not be imported, by graph id."""
        return MappingProxyType(self._errors)

    def description(self, graph_id: str) -> str | None:
        """What langgraph.json says about the graph. Raises UnknownGraph."""
        if graph_id not in self._configuration.graphs:
            raise UnknownGraph(graph_id, self.graph_ids)
        return self._configuration.graphs[graph_id].description

    def open_graph(
        self,
        graph_id: str,
        *,
        checkpointer: Saver | None,
        store: BaseStore | None,
        config: RunnableConfig,
        context_kind: AccessContext,
        user: BaseUser | None = None,
        context: Any = None,
    ) -> AbstractAsyncContextManager[Graph]:
        """A copy of the graph that uses this checkpointer and store, whatever it was compiled with.

        The copy belongs to the caller; the original is shared and stays as it is. `config`, `user`, `context`
        and `context_kind` reach only a factory. `user` defaults to the one in
        `config["configurable"]["langgraph_auth_user"]`.

        Raises UnknownGraph or GraphImportError at once; entering raises NotAGraph or what a factory raises.
        """
        found = self._find(graph_id)
        if isinstance(found, Pregel):
            return nullcontext(_bind(found, graph_id, checkpointer, store))
        if user is None:
            user = config.get("configurable", {}).get("langgraph_auth_user")
        return self._make(found, checkpointer, Call(config, context_kind, store, user, context))

    def schema_allowlist(self, graph_id: str) -> Allowlist:
        """The (module, name) of the classes a strict checkpoint serialiser must allow for this graph.

        They are what the graph declares, and what langgraph.json lists.

        A factory's graph is known only once it was made: ask inside `open_graph`, which adds what the new graph
        declares to what earlier ones did. Raises UnknownGraph or GraphImportError.
        """
        self._find(graph_id)
        return self._allowlists.get(graph_id, frozenset()) | self._configuration.allowed_classes

    def version(self, graph_id: str) -> Version | None:
        """What tells the graph here from others of its name, the same in every process with the same files.

        None for a graph that could not be imported, and for a factory's until it has made one.
        """
        return self._versions.get(graph_id)

    @property
    def versions(self) -> tuple[Version, ...]:
        """Of all graphs that have one so far."""
        return tuple(self._versions.values())

    def stamp(self, graph_id: str) -> Mapping[str, str]:
        """What the graph's checkpoints carry in their metadata; nothing as long as its version is not known."""
        version = self._versions.get(graph_id)
        return version.stamp if version else {}

    def on_version_change(self, graph_id: str) -> OnVersionChange:
        """What a run does on a thread of another topology. Raises UnknownGraph."""
        if graph_id not in self._configuration.graphs:
            raise UnknownGraph(graph_id, self.graph_ids)
        return self._configuration.graphs[graph_id].on_version_change

    def migration(self, graph_id: str) -> Migrate:
        """The project's function that moves the graph's old threads over. Raises KeyError without one."""
        return self._migrations[graph_id]

    def _find(self, graph_id: str) -> Graph | Factory:
        found = self._graphs.get(graph_id)
        if found is not None:
            return found
        if graph_id in self._errors:
            raise self._errors[graph_id].with_traceback(None)
        raise UnknownGraph(graph_id, self.graph_ids)

    def _load(self, source: GraphSource) -> None:
        folder = self._configuration.folder
        try:
            value = load_variable(source, folder)
            self._codes[source.graph_id] = self._code_hash(source)
            if source.migrate is not None:
                self._add_migration(source.migrate)
            try:
                self._add(source.graph_id, value)
            except Exception as error:  # whatever a foreign graph raises concerns that graph alone
                file, line = place_of(source, value, folder)
                raise GraphImportError(source.graph_id, file, line, str(error)) from error
        except GraphImportError as error:
            self._errors[source.graph_id] = error
            facts = {"graph_id": source.graph_id, "file": error.file, "line": error.line, "error": error.text}
            logger.error("graph.import_failed", exc_info=error, extra=facts)

    def _add(self, graph_id: str, value: object) -> None:
        if isinstance(value, Pregel | StateGraph):
            graph = as_graph(graph_id, value)
            self._allowlists[graph_id] = schema_allowlist(graph)
            self._note_version(graph_id, graph)
            self._graphs[graph_id] = graph
        elif callable(value):
            self._graphs[graph_id] = read_factory(graph_id, value)
        else:
            raise TypeError(f"{type(value).__name__} is neither a graph nor a function that makes one")

    def _add_migration(self, source: GraphSource) -> None:
        function = load_variable(source, self._configuration.folder)
        if not callable(function):
            file, line = place_of(source, function, self._configuration.folder)
            raise GraphImportError(source.graph_id, file, line, f"`migrate` must name a function, not {function!r}")
        self._migrations[source.graph_id] = function

    def _code_hash(self, source: GraphSource) -> str:
        """The fingerprint of the project's files that make the graph; of a graph that is installed, of its package."""
        loaded = sys.modules.get(str(source.module))
        file = source.file or Path(str(loaded.__file__ if loaded else None))
        folders = [folder.resolve() for folder in (*self._configuration.folders, self._configuration.folder)]
        if not any(file.is_relative_to(folder) for folder in folders):
            depth = min(str(source.module).count("."), len(file.parents) - 1)
            folders = [file.parents[depth]]
        return code_hash(file, folders, package=("threadline", PACKAGE_ROOT))

    def _note_version(self, graph_id: str, graph: Graph) -> None:
        self._versions[graph_id] = make_version(graph_id, graph, self._codes[graph_id])

    @asynccontextmanager
    async def _make(self, factory: Factory, checkpointer: Saver | None, call: Call) -> AsyncIterator[Graph]:
        async with factory.open(call) as graph:
            known = self._allowlists.get(factory.graph_id, frozenset())
            self._allowlists[factory.graph_id] = known | schema_allowlist(graph)
            self._note_version(factory.graph_id, graph)
            yield _bind(graph, factory.graph_id, checkpointer, call.store)


def _bind(graph: Graph, graph_id: str, checkpointer: Saver | None, store: BaseStore | None) -> Graph:
    # Not `graph.copy()`: it takes seven times as long and forgets the strict allow-list and the output mappers.
    bound = copy.copy(graph)
    bound.checkpointer = checkpointer
    bound.store = store
    if bound.name == _UNNAMED:
        bound.name = graph_id
    return bound
