"""Owns what is shown of a fetched page: the passages that say most about what was asked. Fetching is left to
`fetching`.
"""

from threadline.graphs.assistant.fetching import FetchedPage
from threadline.graphs.assistant.state import Passage
from threadline.graphs.assistant.words import key_words, stem

SHOWN_PASSAGES = 6


def choose_passages(page: FetchedPage, about: str) -> list[Passage]:
    """At most six passages of a page in reading order: those with most of the words, else the first ones."""
    wanted = {stem(word) for word in key_words(about)}
    passages = [
        Passage(
            path=page.url,
            title=page.split.title,
            heading=piece.heading,
            position=position,
            page=piece.page,
            content=piece.content,
        )
        for position, piece in enumerate(page.split.pieces, start=1)
    ]
    best = sorted(passages, key=lambda passage: -_held(passage, wanted))[:SHOWN_PASSAGES]
    return sorted(best, key=lambda passage: passage["position"])


def _held(passage: Passage, wanted: set[str]) -> int:
    return len(wanted & {stem(word) for word in key_words(f"{passage['heading']} {passage['content']}")})
