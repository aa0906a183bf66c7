"""Owns how sections are read from variables and how a bad value is told; which exist is up to `settings`."""

import re
import ssl
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

import psycopg
from dotenv import dotenv_values
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

PREFIX = "THREADLINE_"


class SettingsError(ValueError):
    """A setting cannot be meant as it stands; the message names its variable, its value and what instead."""


@dataclass(frozen=True, slots=True)
class Expects:
    """What a value must be, as the end of the sentence "it must be ...". The unit belongs in it."""

    text: str


class Variables(tuple[str, ...]):
    """The names of a field: the first is the documented one, the others let people move over."""

    __slots__ = ()


class Section(BaseModel):
    """One part's settings: frozen, made by field name in code and from variables by an `Environment`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(NamedTuple):
    """Variables, and where they were found as the end of "it comes from ..."."""

    origin: str
    values: Mapping[str, str]


class Found(NamedTuple):
    """One variable as it was written."""

    name: str
    value: str
    origin: str


# A name, and the base64 of 32 bytes.
_KEY = re.compile(r"(?P<id>[A-Za-z0-9][A-Za-z0-9._-]{0,31}):[A-Za-z0-9+/]{43}=")
SectionT = TypeVar("SectionT", bound=Section)


def variables(*names: str) -> Variables:
    """Name the variables of a field, the documented one first."""
    return Variables(names)


def variables_of(info: FieldInfo) -> Variables:
    """Return the names of a field. Raises StopIteration for a field that has none."""
    return next(each for each in info.metadata if isinstance(each, Variables))


def is_secret(info: FieldInfo) -> bool:
    """Tell whether the field's value must never be shown."""
    return "SecretStr" in str(info.annotation)


class Environment:
    """Reads sections from sources, the strongest first, and collects everything that is wrong with them.

    An empty value counts as set to the default, so that `NAME=` switches a weaker source off.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._known: list[str] = []
        self.problems: list[str] = []

    def read(self, section: type[SectionT]) -> SectionT:
        """Return the section as it is set; the default one after noting problems."""
        found = {field: self._find(info) for field, info in section.model_fields.items()}
        values = {field: each.value for field, each in found.items() if each is not None}
        try:
            return section.model_validate(values)
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                field = str(problem["loc"][0]) if problem["loc"] else ""
                written = found.get(field)
                told = _refusal(written, section.model_fields[field]) if written else problem["msg"]
                self.problems.append(told.removeprefix("Value error, "))
            return section()

    def reject_misspelt(self) -> None:
        """Note each variable with our prefix that is nearly, but not quite, one that was read."""
        for source in self._sources:
            for name in sorted(source.values):
                if not name.startswith(PREFIX) or name in self._known:
                    continue
                for meant in get_close_matches(name, self._known, n=1, cutoff=0.9):
                    self.problems.append(f"{name} (from {source.origin}) is no setting: did you mean {meant}?")

    def _find(self, info: FieldInfo) -> Found | None:
        names = variables_of(info)
        self._known.extend(names)
        for source in self._sources:
            present = [
                Found(name, source.values[name].strip(), source.origin) for name in names if name in source.values
            ]
            written = [each for each in present if each.value]
            if len({each.value for each in written}) > 1:
                shown = " and ".join(_shown(each, info) for each in written)
                self.problems.append(f"{shown} (from {source.origin}) are names of one setting: keep one of them")
            if present:
                return written[0] if written else None
        return None


def read_env_file(path: Path) -> Source:
    """Read `NAME=value` lines; a missing file is an empty one. Raises SettingsError if it is unreadable."""
    try:
        values = dotenv_values(path, interpolate=False) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; it must be UTF-8 text of NAME=value lines") from error
    return Source(str(path), {name: value or "" for name, value in values.items()})


def _shown(found: Found, info: FieldInfo) -> str:
    if not is_secret(info):
        return f"{found.name}={found.value!r}"
    scheme, mark, _ = found.value.partition("://")
    return f"{found.name}='{scheme}://***'" if mark else f"{found.name}='***'"


def _refusal(found: Found, info: FieldInfo) -> str:
    expected = next(each.text for each in info.metadata if isinstance(each, Expects))
    return f"{_shown(found, info)} (from {found.origin}) is refused: it must be {expected}"


def _text(convert: Callable[[str], object]) -> BeforeValidator:
    return BeforeValidator(lambda value: convert(value) if isinstance(value, str) else value)


def _seconds(text: str) -> timedelta:
    seconds = float(text)
    if not abs(seconds) < timedelta.max.total_seconds():
        raise ValueError("not a length of time")
    return timedelta(seconds=seconds)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in (each.strip() for each in text.split(",")) if part)


def _conninfo(value: SecretStr | None) -> SecretStr | None:
    text = value.get_secret_value() if value else ""
    if "://" in text and not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("not a PostgreSQL URL")
    try:
        conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        raise ValueError("not a connection string") from None
    return value


def _keys(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        entries = [_KEY.fullmatch(entry.strip()) for entry in value.get_secret_value().split(",")]
        ids = [entry["id"] for entry in entries if entry]
        if len(set(ids)) < len(entries) or "langgraph" in ids:
            raise ValueError("not keys of their own ids")
    return value


def _aes_key(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value.get_secret_value().encode()) not in (16, 24, 32):
        raise ValueError("not the length of a key")
    return value


def _schema_name(name: str) -> str:
    if not re.fullmatch(r"(?!pg_)[a-z_][a-z0-9_]{0,47}", name):
        raise ValueError("not a name of a schema of ours")
    return name


@cache  # a command reads its settings several times, and all that a machine trusts takes 35 ms
def _certificates(path: Path) -> Path:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # not there, not readable, or no certificates
        raise ValueError("no certificates") from error
    return path


def _signing_keys(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for secret in secrets:
        prefix, _, key = secret.get_secret_value().partition("_")
        if prefix != "whsec" or not 24 <= len(b64decode(key, validate=True)) <= 64:
            raise ValueError("no key of Standard Webhooks")
    return secrets


Count = Annotated[int, Field(ge=1), Expects("a whole number, 1 or more")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), Expects("a number from 0 to 1")]
Days = Annotated[int, Field(ge=0, le=36_500), Expects("a whole number of days, 0 or more")]
Flag = Annotated[bool, Expects("true or false")]
Location = Annotated[Path, AfterValidator(Path.expanduser), Expects("a path")]
Certificates = Annotated[Path, AfterValidator(Path.expanduser), AfterValidator(_certificates), Expects("a path")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    Expects("debug, info, warning or error"),
]
Name = Annotated[str, Field(min_length=1), Expects("a name")]
Host = Annotated[str, Field(pattern=r"^[^\s/]+$"), Expects("a host name or an address, without scheme or port")]
Port = Annotated[int, Field(ge=0, le=65535), Expects("a port from 0 to 65535")]
Secret = Annotated[SecretStr | None, Expects("a key")]
EncryptionKeys = Annotated[
    SecretStr | None,
    AfterValidator(_keys),
    Expects("id:base64, ... with 32 random bytes each, as `threadline keygen` prints them"),
]
AesKey = Annotated[SecretStr | None, AfterValidator(_aes_key), Expects("a key of 16, 24 or 32 bytes")]
SigningKeys = Annotated[
    tuple[SecretStr, ...],
    _text(_parts),
    AfterValidator(_signing_keys),
    Expects("`whsec_` and 24 to 64 bytes in base64, several with commas between them"),
]
HttpUrl = Annotated[str | None, Field(pattern=r"^https?://\S+$"), Expects("an http:// or https:// URL")]
Words = Annotated[tuple[str, ...], _text(_parts), Expects("a list separated by commas")]
Delay = Annotated[timedelta, _text(_seconds), Field(ge=timedelta(0)), Expects("a number of seconds, 0 or more")]
Interval = Annotated[timedelta, _text(_seconds), Field(gt=timedelta(0)), Expects("a number of seconds above 0")]
# Short enough for the channel that is named after it, and the same with and without quotes.
SchemaName = Annotated[
    str,
    AfterValidator(_schema_name),
    Expects("a name of up to 48 lower-case letters, digits and underscores that does not begin with pg_ or a digit"),
]
PostgresUrl = Annotated[
    SecretStr | None,
    AfterValidator(_conninfo),
    Expects("a URL such as postgresql://user:password@host:5432/name, or a libpq connection string"),
]
