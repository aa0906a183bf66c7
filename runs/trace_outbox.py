"""Owns the way of traces to LangSmith: a bounded queue, one thread that sends, and the spool for what cannot be sent.

The LangSmith client is handed this as its HTTP session: what it posts is taken at once, so that neither its queue
nor the exit ever waits for the network. What is in the requests is the client's business.
"""

import logging
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from io import BytesIO
from threading import Condition, Thread
from time import monotonic
from typing import Any

import requests
import zstandard

from threadline.runs.trace_spool import CONFLICT, Spool, TraceRequest

logger = logging.getLogger("threadline.tracing")

MAX_BYTES = 32 * 1024 * 1024  # of requests that wait to be sent
TIMEOUT = (3.0, 10.0)  # seconds to connect and to answer
ASKING_TIMEOUT = (1.0, 1.0)  # the same for what the client asks: it takes no traces until then
RETRIES = (0.5, 2.0)  # seconds before a request that failed is tried again
PAUSE = 30.0  # seconds for which a service that failed is left alone; traces are spooled meanwhile
NOT_FOUND = 404
_INGEST = ("runs/multipart", "runs/batch")
_DESCRIBING = ("content-type", "content-encoding")


@dataclass(slots=True)
class TraceCounts:
    """How many requests were sent and spooled, how many beginnings and ends of spans were lost, and the rest.

    Read for metrics and the log; they only grow.
    """

    sent: int = 0
    spooled: int = 0
    dropped: int = 0
    unsampled_runs: int = 0
    ignored_headers: int = 0


@dataclass(slots=True, eq=False)
class _Waiting:
    url: str
    headers: dict[str, str]
    request: TraceRequest


class _Answer(Enum):
    TAKEN = auto()
    REFUSED = auto()  # this request
    AWAY = auto()  # the service, or its trust in our key


class Outbox(requests.Session):
    """Sends requests in their order. `has_zstd` may be set when the service is known to take compressed ones."""

    def __init__(self, spool: Spool, counts: TraceCounts) -> None:
        super().__init__()
        self.has_zstd = False
        self._spool = spool
        self._counts = counts
        self._network = requests.Session()
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._change = Condition()
        self._away_until = 0.0
        self._closed = False
        self._without_multipart = False
        self._thread = Thread(target=self._send_for_ever, name="traces", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """How much waits to be sent."""
        return self._bytes

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        """Take what holds traces, and answer as if the service had; ask the service everything else, briefly."""
        address = str(url)
        endpoint = next((each for each in _INGEST if address.endswith(f"/{each}")), None)
        if method != "POST" or endpoint is None:
            if self._closed:
                raise requests.ConnectionError("the process stops")
            with requests.Session() as session:
                return session.request(method, url, *args, **{**options, "timeout": ASKING_TIMEOUT})
        if endpoint == _INGEST[0] and self._without_multipart:
            return _answer(NOT_FOUND, address)
        data = options.get("data") or b""
        body = bytes(data if isinstance(data, bytes) else data.to_bytes())
        headers = {name: str(value) for name, value in (options.get("headers") or {}).items()}
        described = {name: value for name, value in headers.items() if name.lower() in _DESCRIBING}
        self._take(_Waiting(address, headers, TraceRequest(endpoint, described, body)))
        return _answer(202, address)

    def finish(self, seconds: float) -> None:
        """Send for so many seconds at most what waits; spool the rest, and from now on whatever still comes."""
        with self._change:
            self._change.wait_for(lambda: not self._queue, timeout=seconds)
            self._closed = True
            # The first of these may be on its way: whether it arrives nobody will know, and twice does no harm.
            left, self._queue = list(self._queue), deque()
            self._change.notify_all()
        for waiting in left:
            self._put_aside(waiting.request)

    def _take(self, waiting: _Waiting) -> None:
        size = len(waiting.request.body)
        with self._change:
            if not self._closed and not self._is_away() and self._bytes + size <= MAX_BYTES:
                self._queue.append(waiting)
                self._bytes += size
                self._change.notify_all()
                return
        self._put_aside(waiting.request)

    def _is_away(self) -> bool:
        return monotonic() < self._away_until

    def _put_aside(self, request: TraceRequest) -> None:
        is_saved = self._spool.save(request)
        with self._change:
            if is_saved:
                self._counts.spooled += 1
            else:
                self._counts.dropped += request.count()

    def _send_for_ever(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                waiting = self._queue[0]
            answer = _Answer.AWAY if self._is_away() else self._send(waiting)
            if not self._closed and answer is not _Answer.TAKEN:
                self._put_aside(waiting.request)
            with self._change:
                if self._closed:
                    return
                if answer is _Answer.TAKEN:
                    self._counts.sent += 1
                self._queue.popleft()
                self._bytes -= len(waiting.request.body)
                self._change.notify_all()

    def _send(self, waiting: _Waiting) -> _Answer:
        body, headers = waiting.request.body, waiting.headers
        if self.has_zstd and waiting.request.endpoint == _INGEST[0]:
            body, headers = _compress(body, headers)
        for pause in (*RETRIES, None):
            try:
                response = self._network.post(waiting.url, data=body, headers=headers, timeout=TIMEOUT)
                status, reason = response.status_code, response.text[:200]
            except (requests.RequestException, ValueError, OSError) as error:  # a key that no header can hold, too
                status, reason = 0, type(error).__name__
            if 200 <= status < 300 or status == CONFLICT:
                return _Answer.TAKEN
            if status == NOT_FOUND:
                self._without_multipart = True
            retries = status in (0, 408, 429) or status >= 500
            if not retries or pause is None or self._stops_within(pause):
                break
        is_away = retries or status in (401, 403)
        if is_away:
            self._away_until = monotonic() + PAUSE
        logger.warning("trace.not_sent", extra={"url": waiting.url, "status": status, "reason": reason})
        return _Answer.AWAY if is_away else _Answer.REFUSED

    def _stops_within(self, seconds: float) -> bool:
        with self._change:
            return self._change.wait_for(lambda: self._closed, timeout=seconds)


def _compress(body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    compressed = zstandard.ZstdCompressor(level=3).compress(body)
    sizes = {"X-Pre-Compressed-Size": str(len(body)), "X-Post-Compressed-Size": str(len(compressed))}
    return compressed, {**headers, "Content-Encoding": "zstd", **sizes}


def _answer(status: int, url: str) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.url = url
    response.raw = BytesIO(b"{}")
    return response
