"""Owns the folder of traces that could not be sent, one file per request, and sending them again.

The files have the form that the LangSmith client gives its own failed traces, so either's can be sent by both.
"""

import base64
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from uuid import uuid4

import orjson
import requests

logger = logging.getLogger("threadline.tracing")

LOOK_EVERY = 1.0  # seconds for which the folder's size is believed to be what it was, and what was added
TIMEOUT = (5.0, 60.0)  # seconds to connect and to answer
CONFLICT = 409  # the service has it already
_MULTIPART_OPERATION = re.compile(rb'name="(?:post|patch)\.[0-9a-f-]{36}"')


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """What one request says: its path below the API's address, the headers that describe the body, and that."""

    endpoint: str
    headers: Mapping[str, str]
    body: bytes

    def count(self) -> int:
        """How many beginnings and ends of spans it holds."""
        if self.endpoint == "runs/multipart":
            return len(_MULTIPART_OPERATION.findall(self.body))
        batch = orjson.loads(self.body)
        return len(batch.get("post") or ()) + len(batch.get("patch") or ())


@dataclass(frozen=True, slots=True)
class Resent:
    """What sending again came to. `reason` says why files are left, if some are."""

    sent: int
    left: int
    reason: str | None = None


class Spool:
    """Takes requests that could not be sent, up to `max_bytes` in the folder.

    Several processes may share it; what another one has just added is seen a moment later.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._bytes = 0
        self._looked = -LOOK_EVERY

    def save(self, request: TraceRequest) -> bool:
        """Write the request down, for its owner's eyes only. False: there is no room, or no such folder."""
        described = orjson.dumps({"version": 1, "endpoint": request.endpoint, "headers": dict(request.headers)})
        content = b'%b,"body_base64":"%b"}' % (described[:-1], base64.b64encode(request.body))
        name = f"trace_{time.time():.6f}_{uuid4().hex[:8]}"
        unfinished = self.folder / f"{name}.tmp"
        try:
            with self._lock:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if self._size() + len(content) > self._max_bytes:
                    return False
                unfinished.touch(mode=0o600)
                unfinished.write_bytes(content)
                unfinished.rename(unfinished.with_suffix(".json"))
                self._bytes += len(content)
        except OSError as error:
            logger.warning("trace.not_spooled", extra={"folder": str(self.folder), "error": repr(error)})
            return False
        return True

    def _size(self) -> int:
        """Return the bytes in the folder. Looking at each file for each request would take longer with each."""
        if time.monotonic() - self._looked >= LOOK_EVERY:
            self._looked = time.monotonic()
            self._bytes = sum(path.stat().st_size for path in self.files())
        return self._bytes

    def files(self) -> list[Path]:
        """The files that wait, oldest first."""
        return sorted(self.folder.glob("trace_*.json"))


def read_trace(file: Path) -> TraceRequest:
    """Return what a file of the spool holds. Raises ValueError for anything else."""
    try:
        envelope = orjson.loads(file.read_bytes())
        body = base64.b64decode(envelope["body_base64"], validate=True)
        return TraceRequest(str(envelope["endpoint"]).strip("/"), dict(envelope["headers"]), body)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no trace that could not be sent: {error!r}") from error


def resend(
    folder: Path,
    api_url: str,
    credentials: Mapping[str, str],
    on_file: Callable[[int, int], None] = lambda done, total: None,
) -> Resent:
    """Send what waits in `folder`, oldest first, and remove what was taken.

    `on_file` is told after each file how many of how many are done. A file that the service refuses, or that is
    none, stays and the next is tried; where the service cannot be reached, or refuses the key, all the others stay.
    Sending twice does no harm: the service knows a span by its id.
    """
    files = Spool(folder, 0).files()
    sent, reason = 0, None
    with requests.Session() as session:
        for number, file in enumerate(files, 1):
            try:
                request = read_trace(file)
                answer = session.post(
                    f"{api_url.rstrip('/')}/{request.endpoint}",
                    data=request.body,
                    headers={**request.headers, **credentials},
                    timeout=TIMEOUT,
                )
            except FileNotFoundError:  # another one that sends again was quicker
                continue
            except ValueError as error:
                reason = str(error)
                continue
            except requests.RequestException as error:
                reason = f"{api_url} cannot be reached: {error}"
                break
            if answer.ok or answer.status_code == CONFLICT:
                file.unlink(missing_ok=True)
                sent += 1
            else:
                reason = f"{api_url} refuses {file.name} with {answer.status_code}: {answer.text[:200]}"
                if answer.status_code in (401, 403) or answer.status_code >= 500:
                    break
            on_file(number, len(files))
    return Resent(sent, len(Spool(folder, 0).files()), reason)
