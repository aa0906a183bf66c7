"""Owns what is known of a model's failure: what to call it, and whether and when asking again may help."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import openai

# What the client libraries raise; a reply that is no chat completion makes them fail in ways that they do not name.
FAULTS = (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, LookupError, AttributeError)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_PASSING = frozenset({408, 409, 425, 429})


class BadReply(ValueError):
    """A reply that is none; the message says what it did, as the end of "the model ..."."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed attempt: what the model did, whether it may pass, and the seconds it asked to be left alone for."""

    did: str
    is_passing: bool
    retry_after: float | None = None


def understand(error: BaseException) -> Fault:
    """What one of FAULTS, or a TimeoutError, says about the model."""
    match error:
        case TimeoutError() | openai.APITimeoutError():
            return Fault("fell silent", True)
        case BadReply():
            return Fault(str(error), True)
        case openai.APIStatusError():
            passing = error.status_code in _PASSING or error.status_code >= 500
            # An account without money stays so for longer than anybody waits.
            passing = passing and error.code != "insufficient_quota"
            return Fault(f"answered {error.status_code}: {_told(error)}", passing, _retry_after(error.response.headers))
        case openai.APIConnectionError() | httpx2.HTTPError():
            return Fault(f"cannot be reached: {error.__cause__ or error}", True)
        case openai.APIError():
            return Fault(f"broke off: {_told(error)}", True)
        case _:
            return Fault(f"sent what is no chat completion ({type(error).__name__}: {str(error)[:200]})", True)


def pause(attempt: int, retry_after: float | None) -> float:
    """The seconds to wait after an attempt, from 0: what the service asked for, else more each time and never equal."""
    spread = random.uniform(0.5, 1.0)  # noqa: S311  # spreads callers over time, guards nothing
    if retry_after is not None:
        # Later than asked for, never earlier; not all at the same moment.
        return retry_after + spread * _FIRST_PAUSE
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**attempt) * spread


def _told(error: openai.APIError) -> str:
    body = error.body
    said = body.get("message") if isinstance(body, dict) else None
    return str(said or error.message)[:500]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    milliseconds, after = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(float(milliseconds) / 1000, 0.0)
        return None if after is None else max(float(after), 0.0)
    except ValueError:
        return _seconds_until(after)


def _seconds_until(date: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((known - datetime.now(UTC)).total_seconds(), 0.0)
