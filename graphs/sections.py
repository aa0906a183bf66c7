"""Owns how a section of langgraph.json is read: each value of the type it must have, or an error that names its key."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from threadline.graphs.errors import ConfigurationError

_VARIABLE = re.compile(r"\$\{\{\s*env\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")

_LARGEST = 10**8  # minutes: nearly two hundred years


class Section:
    """One object of the file, under the dotted name `key`."""

    def __init__(self, path: Path, key: str, content: object) -> None:
        if not isinstance(content, dict):
            raise ConfigurationError(path, key, "must be an object")
        self.path = path
        self.key = key
        self._content: dict[str, Any] = content

    def has(self, name: str) -> bool:
        """Whether there is a value, null being none."""
        return self._content.get(name) is not None

    def section(self, name: str) -> "Section | None":
        """Return the object under `name`, None without one."""
        return Section(self.path, self._at(name), self._content[name]) if self.has(name) else None

    def text(self, name: str, default: str | None = None) -> str | None:
        """Return a text that is not empty."""
        value = self._content.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "must be a text")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return true or false."""
        value = self._content.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "must be true or false")
        return default if value is None else value

    def count(self, name: str, default: int, *, least: int = 1) -> int:
        """Return a whole number from `least` on."""
        value = self._content.get(name, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(name, f"must be a whole number of at least {least}")
        return value

    def number(self, name: str) -> float | None:
        """Return a number above zero, None without one."""
        value = self._content.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LARGEST:
            raise self.wrong(name, "must be a number above zero")
        return float(value)

    def words(self, name: str) -> tuple[str, ...] | None:
        """Return a list of texts, None without one."""
        value = self._content.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.wrong(name, 'must be a list of texts, e.g. ["x-*"]')
        return tuple(value)

    def numbers(self, name: str) -> tuple[int, ...] | None:
        """Return a list of whole numbers, None without one."""
        value = self._content.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in value):
            raise self.wrong(name, "must be a list of whole numbers")
        return tuple(value)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """Return one of `choices`, the first of them by default."""
        value = self._content.get(name)
        if value is not None and value not in choices:
            raise self.wrong(name, f"must be one of {', '.join(choices)}")
        return choices[0] if value is None else str(value)

    def texts(self, name: str) -> dict[str, str]:
        """Return an object of texts, empty without one."""
        value = self._content.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise self.wrong(name, "must be an object of texts")
        return dict(value)

    def value(self, name: str) -> Any:
        """Return whatever stands there."""
        return self._content.get(name)

    def wrong(self, name: str, problem: str) -> ConfigurationError:
        """Return what is wrong with the value under `name`."""
        return ConfigurationError(self.path, self._at(name), problem)

    def _at(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name


def fill_in(section: Section, name: str, template: str, prefix: str, variables: Mapping[str, str]) -> str:
    """Return `template` with each `${{ env.NAME }}` replaced. Raises ConfigurationError for one that may not be used.

    `prefix` keeps templates from naming secrets that were never meant to leave the machine.
    """

    def replace(found: re.Match[str]) -> str:
        variable = found[1]
        if not variable.startswith(prefix):
            raise section.wrong(name, f"{variable} may not be used: it must begin with {prefix}")
        if variable not in variables:
            raise section.wrong(name, f"{variable} is not set; set it, or remove the header")
        return variables[variable]

    return _VARIABLE.sub(replace, template)
