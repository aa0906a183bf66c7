"""Owns which part carries out a command of the event-streaming protocol, and what a failure is called there.

Subscriptions belong to a connection: those commands are `event_socket`'s.
"""

from collections.abc import Awaitable, Callable
from uuid import UUID

from threadline.api.errors import RequestError, known_error
from threadline.api.protocol_answers import Answer, Command, CommandRefused, refusal, refused
from threadline.api.run_commands import RunCommands
from threadline.api.state_commands import StateCommands
from threadline.runs.engine import Engine
from threadline.runs.errors import RunError

Method = Callable[[UUID, Command], Awaitable[Answer]]

NO_CONNECTION = (
    "{} is for WebSockets. Over HTTP a subscription is a stream: POST its channels to /threads/{}/stream/events."
)


class Commands:
    """Carries commands out."""

    def __init__(self, engine: Engine) -> None:
        runs, states = RunCommands(engine), StateCommands(engine)
        self._methods: dict[str, Method] = {
            "run.start": runs.start,
            "run.cancel": runs.cancel,
            "input.respond": runs.respond,
            "input.inject": runs.inject,
            "state.fork": runs.fork,
            "state.get": states.get_state,
            "state.listCheckpoints": states.list_checkpoints,
            "agent.getTree": states.get_tree,
            "subscription.subscribe": _refuse_subscription,
            "subscription.unsubscribe": _refuse_subscription,
            "subscription.reconnect": _refuse_subscription,
        }

    async def run(self, thread_id: UUID, command: Command) -> Answer:
        """Carry out a command and return its answer. Raises psycopg.Error when the database is away."""
        method = self._methods.get(command.method)
        try:
            if method is None:
                raise CommandRefused("unknown_command", f"Unknown protocol command: {command.method}")
            return await method(thread_id, command)
        except CommandRefused as error:
            return refusal(command.id, error)
        except (RequestError, RunError, TypeError) as error:
            return refusal(command.id, refused(error))
        except Exception as error:
            response = known_error(error)
            if response is None or response.status_code not in (401, 403):
                raise
            return refusal(command.id, CommandRefused("permission_denied", str(error)))


async def _refuse_subscription(thread_id: UUID, command: Command) -> Answer:
    raise CommandRefused("not_supported", NO_CONNECTION.format(command.method, thread_id))
