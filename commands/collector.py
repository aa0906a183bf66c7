"""Owns how the cyclic collector is set: it has little to find here, and much to look through in vain."""

import gc

# A run leaves hardly any cycles behind, and an import none: looking for them after 50,000 new objects is early enough.
COLLECT_AFTER = 50_000


def collect_seldom() -> None:
    """Look for cycles seldom. Before the imports of a program this spares it a seventh of the time until it serves."""
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])


def keep_what_is_there() -> None:
    """Never look again through what there is now, because it lives as long as the process."""
    gc.collect()
    gc.freeze()
