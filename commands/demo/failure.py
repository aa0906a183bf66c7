"""Owns how the demo ends when something is not as it promises; what is promised stands in the acts."""

from threadline.commands.exits import CommandFailed


class DemoFailed(CommandFailed):
    """A promise was not kept; the message says which."""


def expect(condition: object, promise: str, seen: object) -> None:
    """Raise DemoFailed unless `condition` holds: `promise` was broken by `seen`."""
    if not condition:
        raise DemoFailed(f"Expected that {promise}, but saw {seen!r}.")
