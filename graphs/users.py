"""Owns what an authenticated user looks like to handlers, factories and nodes: fields, by attribute and by key.

Who a request comes from is decided by the project's own handler, and asked for by the API.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

_REQUIRED = "return a user's id, a dict with `identity`, or an object that has it"


class User(Mapping[str, Any]):
    """A user as `@auth.authenticate` described it; what it holds beyond the four standard fields is there, too.

    In a run it is made again from what was stored with the run, so what has no JSON form is gone there.
    """

    __slots__ = ("_fields", "_source")

    def __init__(self, fields: Mapping[str, Any], source: object = None) -> None:
        identity = fields["identity"]
        self._source = source
        self._fields: dict[str, Any] = {
            **fields,
            "identity": identity,
            "display_name": fields.get("display_name") or identity,
            "is_authenticated": bool(fields.get("is_authenticated", True)),
            "permissions": list(fields.get("permissions") or ()),
        }

    @property
    def identity(self) -> str:
        """What tells this user from all others."""
        identity: str = self._fields["identity"]
        return identity

    @property
    def display_name(self) -> str:
        """How the user is called; the identity where nothing better is known."""
        name: str = self._fields["display_name"]
        return name

    @property
    def is_authenticated(self) -> bool:
        """Whether the handler says so; it does unless it says otherwise."""
        return bool(self._fields["is_authenticated"])

    @property
    def permissions(self) -> Sequence[str]:
        """What handlers may decide on."""
        permissions: list[str] = self._fields["permissions"]
        return permissions

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._fields:
            return self._fields[name]
        return getattr(self._source, name)

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"User({self.identity!r})"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return dict(self._fields)


def read_user(described: object) -> User:
    """Return the user that a handler described. Raises TypeError for what describes none."""
    if isinstance(described, User):
        return described
    if isinstance(described, str):
        fields: Mapping[str, Any] = {"identity": described}
    elif isinstance(described, Mapping):
        fields = described
    else:
        fields = _fields_of(described)
    identity = fields.get("identity")
    if not isinstance(identity, str) or not identity:
        raise TypeError(f"{type(described).__name__} has no identity: {_REQUIRED}")
    return User(fields, None if isinstance(described, str | Mapping) else described)


def _fields_of(described: object) -> Mapping[str, Any]:
    dump: Callable[[], Mapping[str, Any]] | None = getattr(described, "model_dump", None)
    if dump is not None:
        own: Mapping[str, Any] = dump()
    elif is_dataclass(described) and not isinstance(described, type):
        own = asdict(described)
    else:
        own = {name: value for name, value in getattr(described, "__dict__", {}).items() if not name.startswith("_")}
    standard = {
        name: getattr(described, name)
        for name in ("identity", "display_name", "is_authenticated", "permissions")
        if getattr(described, name, None) is not None
    }
    return {**own, **standard}
