"""Owns which project this program was started for, for what is set up far from where its langgraph.json was read."""

from contextvars import ContextVar

from threadline.graphs.configuration import Configuration

_PROJECT: ContextVar[Configuration | None] = ContextVar("project", default=None)


def use_project(configuration: Configuration) -> None:
    """Be a program of this project from here on."""
    _PROJECT.set(configuration)


def current_project() -> Configuration | None:
    """Return what `use_project` was given, None in a program that reads no langgraph.json."""
    return _PROJECT.get()
