"""Owns in which schema our tables are: every statement names it, so that none depends on a `search_path`.

Statements are written without it. What is a name of ours in them gets the schema in front on its way to the server:
tables and views where a statement expects one, our functions where they are called, and what the extension `vector`
brings. Columns, aliases and names of a `with` stay. A test prepares every statement without any `search_path`.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import LiteralString, overload

DEFAULT_SCHEMA = "public"
CHANNEL = "threadline"

# LangGraph's own, and what the `.sql` files beside the code make on demand; all others stand in the migrations.
_ELSEWHERE = (
    *("checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpoint_migrations"),
    *("store", "store_vectors", "store_migrations", "vector_migrations"),
    *("threadline_migrations", "document_embeddings"),
)
_VECTOR_TYPES = frozenset({"vector", "halfvec", "sparsevec"})
_VECTOR_FUNCTIONS = frozenset({"vector_dims"})
_VECTOR_OPERATORS = frozenset({"<=>", "<->", "<#>", "<+>"})
_VECTOR_CLASS = re.compile(r"(?:vector|halfvec|sparsevec)_\w+_ops")
_MADE = re.compile(r"^\s*create (?:or replace )?(table|view|function) (?:if not exists )?(\w+)", re.M | re.I)

_TOKEN = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<code>\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$)
    |(?P<literal>'(?:[^']|'')*')
    |(?P<fixed>"(?:[^"]|"")*"|%\(\w+\)[sbt]|%[%sbt]|\$\d+|\d[\w.]*)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<sign>::|<=>|<->|<\#>|<\+>|.)""",
    re.VERBOSE | re.DOTALL,
)
# A table is expected behind these...
_BEFORE_TABLE = frozenset(
    {
        "from",
        "join",
        "into",
        "update",
        "table",
        "only",
        "using",
        "references",
        "on",
        "exists",
        "view",
        "copy",
        "truncate",
    }
)
# ... and behind a comma, from one of the first until one of the others at the same depth.
_OPENS_LIST = frozenset({"from", "join", "using", "truncate"})
_CLOSES_LIST = frozenset(
    {"on", "where", "set", "select", "order", "group", "having", "limit", "offset", "union", "except", "intersect"}
    | {"returning", "window", "for", "values"}
)
_BEFORE_INDEX = frozenset({"index", "concurrently", "if", "exists"})
# A type stands behind a cast or the name of a column; behind these a word like `vector` means something else.
_NO_COLUMN = frozenset(
    {"exists", "extension", "as", "from", "join", "into", "update", "select", "returning", "by", "set", "and", "or"}
    | {"not", ",", "(", "."}
)


@cache
def known_names() -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of all relations and of all functions that are ours."""
    made: dict[str, set[str]] = {"table": set(_ELSEWHERE), "view": set(), "function": set()}
    for entry in files("threadline.checkpoints.migrations").iterdir():
        if entry.name.endswith(".sql"):
            for kind, name in _MADE.findall(entry.read_text("utf-8")):
                made[kind.lower()].add(name.lower())
    return frozenset(made["table"] | made["view"]), frozenset(made["function"])


class Schema:
    """One schema by its name, and where the database has the extension `vector`, once somebody has looked."""

    def __init__(self, name: str = DEFAULT_SCHEMA) -> None:
        self.name = name
        self._extensions = DEFAULT_SCHEMA
        self._qualified: dict[LiteralString | bytes, LiteralString | bytes] = {}

    @property
    def channel(self) -> str:
        """The channel of hints; that of releases before there were schemas where it may be shared with them."""
        return CHANNEL if self.name == DEFAULT_SCHEMA else f"{CHANNEL}_{self.name}"

    @property
    def remembered(self) -> int:
        """How many statements are remembered."""
        return len(self._qualified)

    def place_extensions(self, schema: str) -> None:
        """Note in which schema the extension `vector` is, or is to be."""
        if schema != self._extensions:
            self._extensions = schema
            self._qualified.clear()

    @overload
    def qualify(self, statement: bytes) -> bytes: ...
    @overload
    def qualify(self, statement: LiteralString) -> LiteralString: ...
    def qualify(self, statement: LiteralString | bytes) -> LiteralString | bytes:
        """Return the statement with the schema in front of each of our names. It is remembered: most come again."""
        if (known := self._qualified.get(statement)) is not None:
            return known
        text = statement.decode() if isinstance(statement, bytes) else statement
        rewritten = "".join(_Rewriting(text, quote(self.name), quote(self._extensions)))
        if len(self._qualified) >= MOST_REMEMBERED:
            self._qualified.clear()
        result = rewritten.encode() if isinstance(statement, bytes) else rewritten
        self._qualified[statement] = result
        return result


# Ours are about 250. LangGraph's store makes statements for each number of keys, and values never stand in them.
MOST_REMEMBERED = 2000


def quote(name: str) -> str:
    """Return a name as an identifier of SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


class _Rewriting:
    """One pass over one statement."""

    def __init__(self, text: str, schema: str, extensions: str) -> None:
        self._text = text
        self._schema = schema
        self._extensions = extensions
        self._tokens = [match for match in _TOKEN.finditer(text) if match.lastgroup != "skip"]
        self._words = [match[0].lower() for match in self._tokens]
        self._relations, self._functions = known_names()
        self._has_vectors = not _VECTOR_TYPES.isdisjoint(self._words)
        # One flag for each open parenthesis: whether a comma is followed by a table.
        self._lists = [False]

    def __iter__(self) -> Iterator[str]:
        end = 0
        for place, token in enumerate(self._tokens):
            yield self._text[end : token.start()]
            yield self._rewrite(place, token)
            self._follow(self._words[place])
            end = token.end()
        yield self._text[end:]

    def _near(self, place: int) -> str:
        return self._words[place] if 0 <= place < len(self._words) else ""

    def _follow(self, word: str) -> None:
        if word == "(":
            self._lists.append(False)
        elif word == ")":
            self._lists.pop()
            self._lists = self._lists or [False]
        elif word in _OPENS_LIST:
            self._lists[-1] = True
        elif word in _CLOSES_LIST or word == ";":
            self._lists[-1] = False

    def _rewrite(self, place: int, token: re.Match[str]) -> str:
        if token.lastgroup == "word":
            return self._rewrite_word(place, token[0])
        if token["code"] is not None:
            mark = f"${token['tag']}$"
            return mark + "".join(_Rewriting(token[0][len(mark) : -len(mark)], self._schema, self._extensions)) + mark
        if token["literal"] is not None:
            return self._rewrite_literal(place, token[0])
        if self._has_vectors and token[0] in _VECTOR_OPERATORS and self._near(place - 1) != ".":
            return f"operator({self._extensions}.{token[0]})"
        return token[0]

    def _rewrite_literal(self, place: int, literal: str) -> str:
        """A name given as text: to_regclass('runs')."""
        if literal[1:-1] in self._relations and (self._near(place - 2), self._near(place - 1)) == ("to_regclass", "("):
            return "'" + self._schema.replace("'", "''") + "." + literal[1:]
        return literal

    def _rewrite_word(self, place: int, word: str) -> str:
        name, before, after = word.lower(), self._near(place - 1), self._near(place + 1)
        if before == "column" and self._near(place - 2) == "on" and name in self._relations:
            return f"{self._schema}.{word}"  # a comment
        if before == "." or after == ".":
            return word
        if name in self._relations and self._expects_table(before):
            return f"{self._schema}.{word}"
        if name in self._functions and after == "(":
            return f"{self._schema}.{word}"
        if before in _BEFORE_INDEX and self._drops_index(place):
            return f"{self._schema}.{word}"
        return self._rewrite_extension(place, word)

    def _expects_table(self, before: str) -> bool:
        return before in _BEFORE_TABLE or (before == "," and self._lists[-1])

    def _drops_index(self, place: int) -> bool:
        """An index that is made goes where its table is, and its name must be bare; one that goes must be found."""
        start = place
        while start > 0 and self._near(start - 1) in _BEFORE_INDEX:
            start -= 1
        return (
            self._near(start) == "index" and self._near(start - 1) == "drop" and self._near(place) not in _BEFORE_INDEX
        )

    def _rewrite_extension(self, place: int, word: str) -> str:
        name, before = word.lower(), self._near(place - 1)
        if name == "vector" and "extension" in (before, self._near(place - 4)) and before in ("extension", "exists"):
            return f"{word} schema {self._extensions}"
        of_type = name in _VECTOR_TYPES and before not in _NO_COLUMN
        if (self._has_vectors and (of_type or name in _VECTOR_FUNCTIONS)) or _VECTOR_CLASS.fullmatch(name):
            return f"{self._extensions}.{word}"
        return word
