"""Owns the offline model's notion of a word that matters: no filler, and one form for all endings."""

import re

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_ENDINGS = ("ations", "ation", "ings", "ing", "ions", "ion", "ies", "ers", "ed", "es", "er", "ly", "s", "e", "y")
_FILLER = frozenset(
    _WORD.findall(
        "a about above after again all also am an and any are as at be because been before being below between "
        "both but by can could did do does doing down during each explain few find for from further get give had "
        "has have having he her here hers hi hello him his how i if in into is it its itself just know let like "
        "look many may me might more most much must my need no nor not of off on once only or other our out over "
        "own please say says search shall she should show so some such tell than thank thanks that the their them "
        "then there these they this those through to too under until up us very want was we were what what's when "
        "where which while who whom whose why will with would you your docs documents document documentation"
    )
)


def key_words(text: str) -> list[str]:
    """The words that carry the meaning of a text, in order, each once, in lower case."""
    words = (word.lower().replace("\u2019", "'") for word in _WORD.findall(text))
    return list(dict.fromkeys(word for word in words if word not in _FILLER and len(word) > 1))


def stem(word: str) -> str:
    """The part of a word that its forms share, roughly: `restarts`, `restarted` and `restarting` give `restart`."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
