"""Owns what langgraph.json puts between a client and the routes: who is let in, which routes there are, what is added.

Acting on it is the API's; the rules of access themselves are `auth`'s.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from langgraph_sdk import Auth
from langgraph_sdk.encryption import Encryption
from starlette.applications import Starlette
from starlette.middleware import Middleware

from threadline.graphs.auth import AccessRules
from threadline.graphs.configuration import Configuration
from threadline.graphs.encryption import load_encryption
from threadline.graphs.errors import ConfigurationError, GraphImportError
from threadline.graphs.loading import load_object
from threadline.graphs.sections import Section

# Credentials of this server, which no run needs, and of others: named in full or not at all.
OMITTED = frozenset({"x-api-key", "x-tenant-id", "x-service-key", "authorization", "proxy-authorization", "cookie"})
PARTS = ("assistants", "threads", "runs", "store", "mcp", "a2a", "meta", "webhooks")
_EXPOSED = (
    *("content-location", "location", "idempotent-replayed"),
    *("x-pagination-next", "x-pagination-total", "x-request-id"),
)


@dataclass(frozen=True, slots=True)
class HeaderChoice:
    """Which headers are taken: patterns with `*`. Without `includes` those whose name begins with `x-`."""

    includes: tuple[str, ...] | None
    excludes: tuple[str, ...]

    def choose(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers that are taken, by lower-case name."""
        return {name: value for name, value in headers.items() if self._takes(name)}

    def _takes(self, name: str) -> bool:
        if any(fnmatchcase(name, pattern) for pattern in self.excludes):
            return False
        if name in OMITTED:
            return name in (self.includes or ())
        return any(fnmatchcase(name, pattern) for pattern in (("x-*",) if self.includes is None else self.includes))


@dataclass(frozen=True, slots=True)
class AuthCache:
    """How long an answer of `@auth.authenticate` is good for requests with the same values of the headers `keys`."""

    keys: tuple[str, ...]
    seconds: int
    max_size: int


@dataclass(frozen=True, slots=True)
class Cors:
    """What pages of other origins may do. A file that leaves methods or headers out means all of them."""

    allow_origins: tuple[str, ...] = ("*",)
    allow_methods: tuple[str, ...] = ("*",)
    allow_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False
    allow_origin_regex: str | None = None
    expose_headers: tuple[str, ...] = _EXPOSED
    max_age: int = 600


@dataclass(frozen=True, slots=True)
class Door:
    """Everything of langgraph.json that the API acts on, loaded. The default is what an empty file means."""

    rules: AccessRules | None = None
    encryption: Encryption | None = None
    cache: AuthCache | None = None
    openapi: Mapping[str, Any] = field(default_factory=dict)
    app: Starlette | None = None
    app_middleware: tuple[Middleware, ...] = ()
    auth_first: bool = False
    guards_custom: bool = False
    cors: Cors | None = None
    configurable_headers: HeaderChoice | None = None
    logging_headers: HeaderChoice | None = None
    disabled: frozenset[str] = frozenset()
    mount_prefix: str = ""

    @property
    def is_guarded(self) -> bool:
        """Whether requests have to pass anything at all."""
        return self.rules is not None or self.configurable_headers is not None


def open_door(configuration: Configuration) -> Door:
    """Import what `auth` and `http` name, and check the rest. Raises ConfigurationError.

    The configuration's folders must be on the path: see `loading.put_on_path`.
    """
    sections = configuration.sections
    auth = _section(configuration, "auth")
    http = _section(configuration, "http") or Section(configuration.path, "http", {})
    app = _load_app(configuration, http)
    return Door(
        rules=_load_rules(configuration, auth) if auth else None,
        encryption=load_encryption(configuration),
        cache=_read_cache(auth.section("cache")) if auth else None,
        openapi=(sections.get("auth") or {}).get("openapi") or {},
        app=_without_middleware(app),
        app_middleware=tuple(app.user_middleware) if app else (),
        auth_first=http.choice("middleware_order", ("middleware_first", "auth_first")) == "auth_first",
        guards_custom=http.flag("enable_custom_route_auth"),
        cors=_read_cors(http.section("cors")),
        configurable_headers=_read_headers(http.section("configurable_headers")),
        logging_headers=_read_headers(http.section("logging_headers")),
        disabled=frozenset(part for part in PARTS if http.flag(f"disable_{part}")),
        mount_prefix=_read_prefix(http),
    )


def _section(configuration: Configuration, name: str) -> Section | None:
    content = configuration.sections.get(name)
    return None if content is None else Section(configuration.path, name, content)


def _load(configuration: Configuration, key: str, location: str) -> object:
    try:
        return load_object(configuration.path, key, location)
    except GraphImportError as error:
        place = error.file if error.line is None else f"{error.file}, line {error.line}"
        raise ConfigurationError(configuration.path, key, f"{place}: {error.text}") from error


def _load_rules(configuration: Configuration, auth: Section) -> AccessRules:
    location = auth.text("path")
    if location is None:
        raise auth.wrong("path", 'must name an Auth object, e.g. "./auth.py:auth"')
    found = _load(configuration, "auth.path", location)
    if not isinstance(found, Auth):
        raise auth.wrong("path", f"{location} is a {type(found).__name__}, not a langgraph_sdk.Auth")
    try:
        return AccessRules(found)
    except TypeError as error:
        raise auth.wrong("path", f"{location}: {error}") from error


def _load_app(configuration: Configuration, http: Section) -> Starlette | None:
    location = http.text("app")
    if location is None:
        return None
    found = _load(configuration, "http.app", location)
    if not isinstance(found, Starlette):
        raise http.wrong("app", f"{location} is a {type(found).__name__}, not a Starlette or FastAPI application")
    return found


def _without_middleware(app: Starlette | None) -> Starlette | None:
    """Return a copy of the application whose middleware somebody else puts around it, and around us."""
    if app is None:
        return None
    bare = copy.copy(app)
    bare.user_middleware = []
    bare.middleware_stack = None
    return bare


def _read_cache(section: Section | None) -> AuthCache | None:
    if section is None:
        return None
    keys = section.words("cache_keys")
    if not keys:
        raise section.wrong("cache_keys", 'must name the headers that tell users apart, e.g. ["authorization"]')
    return AuthCache(keys, section.count("ttl_seconds", 60), section.count("max_size", 1000))


def _read_cors(section: Section | None) -> Cors | None:
    if section is None:
        return None
    usual = Cors()
    pattern = section.text("allow_origin_regex")
    return Cors(
        allow_origins=section.words("allow_origins") or (() if pattern else usual.allow_origins),
        allow_methods=section.words("allow_methods") or usual.allow_methods,
        allow_headers=section.words("allow_headers") or usual.allow_headers,
        allow_credentials=section.flag("allow_credentials"),
        allow_origin_regex=pattern,
        expose_headers=tuple(dict.fromkeys((*_EXPOSED, *(section.words("expose_headers") or ())))),
        max_age=section.count("max_age", usual.max_age, least=0),
    )


def _read_headers(section: Section | None) -> HeaderChoice | None:
    if section is None:
        return None
    includes, excludes = section.words("includes"), section.words("excludes") or ()
    lowered = None if includes is None else tuple(name.lower() for name in includes)
    return HeaderChoice(lowered, tuple(name.lower() for name in excludes))


def _read_prefix(http: Section) -> str:
    prefix = (http.text("mount_prefix") or "").rstrip("/")
    if prefix and (not prefix.startswith("/") or Path(prefix).as_posix() != prefix or "{" in prefix):
        raise http.wrong("mount_prefix", 'must be a path, e.g. "/api"')
    return prefix
