"""Owns how a failure is told to an agent; which error means what is the one place that knows both languages."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from a2a.utils.errors import (
    A2AError,
    InternalError,
    InvalidParamsError,
    InvalidRequestError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from psycopg import OperationalError

from threadline.api.errors import UNAVAILABLE
from threadline.graphs.auth import Refused
from threadline.runs.errors import AssistantNotFound, Conflict, Invalid, NotFound, RunError

logger = logging.getLogger("threadline.a2a")

# Its own lines tell every mistake of a client as an error of ours, with its stack.
logging.getLogger("a2a").setLevel(logging.CRITICAL)


@contextmanager
def told_to_agents() -> Iterator[None]:
    """Turn what goes wrong in the block into the protocol's errors; what nobody foresaw is in the log only."""
    try:
        yield
    except A2AError:
        raise
    except (Invalid, AssistantNotFound) as error:
        raise InvalidParamsError(str(error)) from error
    except NotFound as error:
        raise TaskNotFoundError(str(error)) from error
    except Conflict as error:
        raise UnsupportedOperationError(str(error)) from error
    except RunError as error:
        raise InternalError(str(error)) from error
    except OperationalError as error:
        logger.warning("request.unavailable", extra={"error": repr(error)})
        raise InternalError(UNAVAILABLE) from error
    except Refused as error:
        raise InvalidRequestError(error.detail) from error
    except Exception as error:
        logger.exception("a2a.failed")
        raise InternalError("An internal error occurred") from error
