"""Owns the checks of citations: numbers that stay, markers that are read, a list that names what was cited."""

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from threadline.graphs.assistant.citations import cited_sources, number_sources, source_list
from threadline.graphs.assistant.state import Passage


def make_passage(path: str, position: int) -> Passage:
    return Passage(path=path, title="Guide", heading="Guide \u203a Run", position=position, content="text")


def found(*passages: Passage, status: str = "success") -> ToolMessage:
    return ToolMessage("found", tool_call_id="1", name="search_documents", artifact=list(passages), status=status)


def test_sources_are_numbered_as_found_and_each_once() -> None:
    first, second, third = make_passage("a.md", 1), make_passage("a.md", 2), make_passage("b.md", 1)
    other = ToolMessage("6", tool_call_id="2", name="calculate", artifact=None)
    sources = number_sources([AIMessage(""), found(first, second), other, found(second, third)])
    assert [(source["number"], source["path"], source["position"]) for source in sources] == [
        (1, "a.md", 1),
        (2, "a.md", 2),
        (3, "b.md", 1),
    ]
    assert number_sources([HumanMessage("q")]) == []


def test_markers_are_read_in_every_form_and_unknown_numbers_are_ignored() -> None:
    sources = number_sources([found(*(make_passage("a.md", position) for position in range(1, 6)))])
    cited = cited_sources("One [1]. Two [2, 3][5]. None [9], not [x], not (4).", sources)
    assert [source["number"] for source in cited] == [1, 2, 3, 5]


def test_the_list_names_number_heading_path_and_passage() -> None:
    sources = number_sources([found(make_passage("docs/a.md", 4))])
    assert source_list(sources) == "\n\nSources:\n[1] Guide \u203a Run: docs/a.md, passage 4"
    assert source_list([]) == ""
