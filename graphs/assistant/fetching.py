"""Owns the fetching of web pages: what is asked of whom, and the bounds on time, size and redirects.

Which addresses are public is left to `addresses`, what a page says to `reading`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import Message
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from ssl import SSLContext, create_default_context

import httpx2

from threadline.graphs.assistant.addresses import Address, RefusedAddress, Resolve, check_addresses, resolve
from threadline.graphs.assistant.decoding import decode
from threadline.graphs.assistant.markdown import split_markdown, split_text
from threadline.graphs.assistant.passages import SplitDocument, UnreadableDocument
from threadline.graphs.assistant.reading import Format, read_document

MAX_URL = 2000
MAX_REDIRECTS = 5
MAX_ADDRESSES = 3

_FORMATS = {"text/html": Format.HTML, "application/xhtml+xml": Format.HTML, "application/pdf": Format.PDF}
_TEXTS = {"text/plain": split_text, "text/markdown": split_markdown}
_HEADERS = {
    "User-Agent": "threadline",
    "Accept": ", ".join([*_FORMATS, *_TEXTS]),
    # What is packed can unpack to any size.
    "Accept-Encoding": "identity",
}


class FetchFailed(RuntimeError):
    """A page could not be fetched; the message says why, in words a person or a model can act on."""


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """The bounds of one page, redirects included. `allow_loopback` is for pages of a developer's own machine.

    `ca_file` holds the authorities that are trusted instead of the machine's.
    """

    allow_loopback: bool = False
    deadline: timedelta = timedelta(seconds=20)
    max_bytes: int = 4 * 1024 * 1024
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """A page's address after redirects, and what it says."""

    url: str
    split: SplitDocument


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one request brought: the address of the next one, or a body."""

    location: str | None
    kind: str
    charset: str | None
    body: bytes


_settings = FetchSettings()


def configure(settings: FetchSettings) -> None:
    """Set the bounds of this process's assistants."""
    global _settings
    _settings = settings


async def fetch(url: str, settings: FetchSettings | None = None, resolve: Resolve = resolve) -> FetchedPage:
    """Fetch an http or https page of the public internet. Raises FetchFailed.

    Each hop of a redirect is checked like the first address, and the connection goes to the very address that was
    checked, whatever the name leads to a moment later. Proxies of the environment are not used.
    """
    settings = settings or _settings
    try:
        async with asyncio.timeout(settings.deadline.total_seconds()):
            return await _follow(url, settings, resolve)
    except TimeoutError:
        raise FetchFailed(f"{url} took more than {settings.deadline.total_seconds():g} seconds") from None
    except RefusedAddress as problem:
        raise FetchFailed(f"{url} may not be fetched: {problem}") from None
    except UnreadableDocument as problem:
        raise FetchFailed(f"{url} cannot be read: {problem}") from None
    except httpx2.HTTPError as error:
        raise FetchFailed(f"{url} cannot be fetched: {error or type(error).__name__}") from None


async def _follow(url: str, settings: FetchSettings, resolve: Resolve) -> FetchedPage:
    # No cookies, no environment, no reuse: every hop stands for itself.
    limits = httpx2.Limits(max_keepalive_connections=0)
    seconds = settings.deadline.total_seconds()
    verify = _trusting(settings.ca_file)
    async with httpx2.AsyncClient(trust_env=False, limits=limits, timeout=seconds, verify=verify) as client:
        current = _parsed(url)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await _ask(client, current, settings, resolve)
            if answer.location is None:
                return FetchedPage(str(current), await _read(answer, current))
            current = _parsed(answer.location, current)
    raise FetchFailed(f"{url} redirects more than {MAX_REDIRECTS} times")


@lru_cache
def _trusting(ca_file: Path | None) -> SSLContext:
    # Reading all the authorities of a machine takes a while: once is enough.
    return create_default_context(cafile=ca_file) if ca_file else httpx2.create_ssl_context(trust_env=False)


def _parsed(url: str, base: httpx2.URL | None = None) -> httpx2.URL:
    if len(url) > MAX_URL:
        raise FetchFailed(f"the address is longer than {MAX_URL} characters")
    try:
        parsed = (base.join(url.strip()) if base else httpx2.URL(url.strip())).copy_with(fragment=None)
    except (httpx2.InvalidURL, UnicodeError) as problem:
        raise FetchFailed(f"{url!r} is no address of a page: {problem}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise FetchFailed(f"{url!r} is no address of a page: it must begin with http:// or https://")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise FetchFailed(f"{url!r} is no address of a page: there is no port {parsed.port}")
    if parsed.userinfo:
        raise FetchFailed("the address holds a name or a password; pages are only fetched without")
    return parsed


async def _ask(client: httpx2.AsyncClient, url: httpx2.URL, settings: FetchSettings, resolve: Resolve) -> _Answer:
    try:
        found = await resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
    except (OSError, UnicodeError):
        raise FetchFailed(f"there is no host {url.host}") from None
    addresses = check_addresses(url.host, found, allow_loopback=settings.allow_loopback)
    return await _ask_first_that_answers(client, url, list(dict.fromkeys(addresses)), settings.max_bytes)


async def _ask_first_that_answers(
    client: httpx2.AsyncClient, url: httpx2.URL, addresses: Sequence[Address], max_bytes: int
) -> _Answer:
    *others, last = addresses[:MAX_ADDRESSES]
    for address in others:
        try:
            return await _ask_at(client, url, address, max_bytes)
        except httpx2.ConnectError:
            continue
    return await _ask_at(client, url, last, max_bytes)


async def _ask_at(client: httpx2.AsyncClient, url: httpx2.URL, address: Address, max_bytes: int) -> _Answer:
    headers: Mapping[str, str] = {**_HEADERS, "Host": url.netloc.decode("ascii")}
    request = client.build_request(
        "GET", url.copy_with(host=str(address)), headers=headers, extensions={"sni_hostname": url.raw_host.decode()}
    )
    response = await client.send(request, stream=True)
    try:
        if response.is_redirect and "location" in response.headers:
            return _Answer(response.headers["location"], "", None, b"")
        if not response.is_success:
            raise FetchFailed(f"{url} answered {response.status_code} {_phrase(response.status_code)}")
        return await _take(response, url, max_bytes)
    finally:
        await response.aclose()


async def _take(response: httpx2.Response, url: httpx2.URL, max_bytes: int) -> _Answer:
    described = Message()
    described["content-type"] = response.headers.get("content-type", "text/plain")
    kind = described.get_content_type()
    if kind not in {*_FORMATS, *_TEXTS}:
        raise FetchFailed(f"{url} is {kind}; only HTML, PDF and plain text are read")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed(f"{url} is sent packed although that was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise FetchFailed(f"{url} is larger than {max_bytes // 1024} KB")
    charset = described.get_content_charset()
    return _Answer(None, kind, charset, bytes(body))


async def _read(answer: _Answer, url: httpx2.URL) -> SplitDocument:
    name = str(url)
    if answer.kind in _TEXTS:
        return _TEXTS[answer.kind](decode(answer.body, answer.charset), name)
    return await read_document(_FORMATS[answer.kind], answer.body, name, charset=answer.charset)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
