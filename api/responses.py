"""Owns how answers are written: JSON through the one encoding, and the headers that page a list."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from threadline.runs.encoding import encode
from threadline.runs.model import Run


class JsonResponse(Response):
    """JSON by `runs.encoding`, so that an answer and an event show a value alike."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return `content` as JSON."""
        return encode(content)


def page(found: Sequence[Any], *, limit: int, offset: int) -> JsonResponse:
    """Return a page of at most `limit` from a search that was asked for one more than that.

    The total is what clients of the original expect: what is known to exist up to one behind this page.
    """
    shown = found[:limit]
    has_more = len(found) > limit
    headers = {"x-pagination-total": str(offset + len(found))}
    if has_more:
        headers["x-pagination-next"] = str(offset + limit)
    return JsonResponse(shown, headers=headers)


def run_headers(run: Run, location: str | None = None, *, has_thread: bool = True) -> Mapping[str, str]:
    """Return where a run is found: clients read its ids from this.

    Cut off, they go on at `location`, a route of the run. A run without a thread that the client knows has
    `has_thread` false: its thread is told in the location only.
    """
    path = f"/threads/{run.thread_id}/runs/{run.run_id}"
    headers = {"content-location": path if has_thread else f"/runs/{run.run_id}"}
    if location is not None:
        headers["location"] = f"{path}/{location}"
    return headers
