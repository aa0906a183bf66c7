"""Owns the checks of how documents are cut: every word is kept, under its headings, in pieces of bearable length."""

import random

import pytest

from threadline.graphs.assistant.markdown import split_markdown, split_text
from threadline.graphs.assistant.passages import PASSAGE_LENGTH, Piece

WAY = " \u203a "


def test_each_section_is_a_piece_under_the_way_to_it() -> None:
    text = "intro\n\n# Guide\n\nwelcome\n\n## Install\n\nuse pip\n\n### Linux ###\n\nuse apt\n\n## Run\n\nstart it\n"
    split = split_markdown(text, "guide")
    assert split.title == "Guide"
    assert split.pieces == (
        Piece("Guide", "intro"),
        Piece("Guide", "welcome"),
        Piece(f"Guide{WAY}Install", "use pip"),
        Piece(f"Guide{WAY}Install{WAY}Linux", "use apt"),
        Piece(f"Guide{WAY}Run", "start it"),
    )


def test_a_heading_with_nothing_below_it_can_still_be_found() -> None:
    split = split_markdown("# Guide\n\n## Never deploy on Fridays\n\n## Why\n\nbecause\n", "x")
    assert split.pieces == (
        Piece(f"Guide{WAY}Never deploy on Fridays", "Never deploy on Fridays"),
        Piece(f"Guide{WAY}Why", "because"),
    )


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# The Guide\n\ntext\n", "The Guide"),
        ("---\ntitle: 'From the front'\ndate: 2026-01-01\n---\n# The Guide\n\ntext\n", "From the front"),
        ("---\ndate: 2026-01-01\n---\n# The Guide\n\ntext\n", "The Guide"),
        ("## Only a section\n\ntext\n", "name"),
        ("text\n", "name"),
        ("", "name"),
    ],
)
def test_the_title_is_the_front_matters_the_first_headings_or_the_files(text: str, title: str) -> None:
    assert split_markdown(text, "name").title == title


def test_a_title_that_is_also_the_first_heading_is_not_repeated() -> None:
    assert split_markdown("# Guide\n\n## Run\n\nstart\n", "x").pieces == (Piece(f"Guide{WAY}Run", "start"),)


def test_code_is_not_searched_for_headings_and_keeps_its_blank_lines() -> None:
    text = "# Guide\n\n```sh\n# not a heading\n\nrun\n```\n\n~~~~\n```\n# nor this\n~~~~\n"
    (piece,) = split_markdown(text, "x").pieces
    assert piece.heading == "Guide"
    assert "# not a heading\n\nrun" in piece.content
    assert "# nor this" in piece.content


def test_front_matter_is_no_text_but_a_rule_in_the_middle_is() -> None:
    split = split_markdown("---\ntitle: T\n---\nfirst\n\n---\n\nsecond\n", "x")
    assert [piece.content for piece in split.pieces] == ["first\n\n---\n\nsecond"]


def test_paragraphs_are_joined_until_a_piece_is_full() -> None:
    paragraphs = [f"{number} " + "word " * 60 for number in range(10)]
    pieces = split_text("\n\n".join(paragraphs), "notes").pieces
    assert 2 <= len(pieces) < 10
    assert all(len(piece.content) <= PASSAGE_LENGTH + 2 for piece in pieces)
    assert all(piece.heading == "notes" for piece in pieces)


def test_a_long_paragraph_is_cut_at_the_end_of_a_sentence() -> None:
    sentence = "This is a sentence of the long paragraph."
    pieces = split_text(" ".join([sentence] * 100), "notes").pieces
    assert len(pieces) > 1
    assert all(piece.content.endswith(sentence) for piece in pieces)


@pytest.mark.parametrize("seed", range(10))
def test_no_word_is_lost_and_no_piece_is_too_long(seed: int) -> None:
    source = random.Random(seed)
    words = [f"w{number}" + "x" * source.choice([0, 0, 5, 2000]) for number in range(300)]
    text = "".join(word + source.choice([" ", " ", ". ", "\n", "\n\n", "\n# ", "\n\n## ", "\n```\n"]) for word in words)
    split = split_markdown(text, "name")
    kept = "".join(piece.heading + piece.content for piece in split.pieces)
    assert all(f"w{number}" in kept for number in range(300))
    assert all(len(piece.content) <= PASSAGE_LENGTH + 2 for piece in split.pieces)
    assert all(piece.content.strip() for piece in split.pieces)
