"""Owns the checks of long conversations: the state stays bounded, and what was said early is not lost."""

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from threadline.graphs.assistant import model
from threadline.graphs.assistant.conversation import count_tokens
from threadline.graphs.assistant.memory import MAX_SUMMARY, remember
from threadline.graphs.assistant.model import TokenSettings
from threadline.graphs.factories import Graph
from threadline.tests.graphs.assistant.conversations import answer_of, ask
from threadline.tests.graphs.assistant.open_ai import Reply, scripted_model

SMALL = TokenSettings(context_tokens=1200)


def conversation(length: int, words: int = 20) -> list[BaseMessage]:
    return [
        message
        for number in range(length)
        for message in (
            HumanMessage(f"question {number} " + "word " * words, id=f"q{number}"),
            AIMessage(f"answer {number}", id=f"a{number}"),
        )
    ]


async def test_a_short_conversation_is_kept_as_it_is() -> None:
    memory = await remember(conversation(3), "before", 1000)
    assert (memory.kept, memory.removed, memory.summary) == (conversation(3), [], "before")


async def test_old_turns_leave_and_a_line_of_each_stays() -> None:
    messages = conversation(20)
    memory = await remember(messages, "- even earlier: yes", 500)
    assert memory.kept == messages[-len(memory.kept) :]
    assert count_tokens(memory.kept) <= 250
    assert isinstance(memory.kept[0], HumanMessage)
    assert [each.id for each in memory.removed] == [each.id for each in messages[: -len(memory.kept)]]
    lines = memory.summary.splitlines()
    assert lines[0] == "- even earlier: yes"
    assert lines[1].startswith("- question 0 word word")
    assert lines[1].endswith(": answer 0")


async def test_the_last_turn_stays_whatever_its_length() -> None:
    messages = conversation(3, words=5000)
    memory = await remember(messages, "", 500)
    assert memory.kept == messages[-2:]


async def test_a_summary_does_not_grow_without_bound() -> None:
    memory = await remember(conversation(200), "\n".join(["- old: line"] * 500), 500)
    assert len(memory.summary) <= MAX_SUMMARY
    assert "answer 19" in memory.summary


async def test_a_thread_of_many_turns_stays_bounded(assistant: Graph) -> None:
    model.configure(None, SMALL)
    sizes = []
    for number in range(40):
        values = await ask(assistant, f"What is {number}*7? And please explain it well.")
        sizes.append(count_tokens(values["messages"]))
        assert f"{number}*7 = {number * 7}" in answer_of(values)
    assert max(sizes) < 1000
    assert max(sizes[20:]) <= max(sizes[:20]) + 50
    assert "- What is 0*7?" in values["summary"]


async def test_a_model_writes_the_summary_and_is_told_it_afterwards(assistant: Graph) -> None:
    summary = Reply("They like walnuts.")
    with scripted_model([Reply("DONE")], [Reply("Noted " + "x" * 3000), summary, Reply("Walnuts.")], SMALL) as script:
        await ask(assistant, "I like walnuts. " + "Really. " * 100)
        values = await ask(assistant, "What do I like?")
        assert values["summary"] == "They like walnuts."
        assert len(values["messages"]) == 2
        summarising, planning, answering = script.requests[2:5]
        assert "I like walnuts" in summarising["messages"][1]["content"]
        assert "They like walnuts." in planning["messages"][0]["content"]
        assert "They like walnuts." in answering["messages"][0]["content"]


async def test_a_failing_summary_costs_nothing_but_its_detail(assistant: Graph) -> None:
    failing = Reply("down", status=400)
    with scripted_model([Reply("DONE")], [Reply("Noted " + "x" * 3000), failing, Reply("Walnuts.")], SMALL):
        await ask(assistant, "I like walnuts. " + "Really. " * 100)
        values = await ask(assistant, "What do I like?")
    assert answer_of(values) == "Walnuts."
    assert values["summary"].startswith("- I like walnuts.")


async def test_the_token_budget_ends_planning_and_still_gives_an_answer(assistant: Graph) -> None:
    endless = [Reply(calls=(("calculate", f'{{"expression": "{number}*7"}}'),), usage=1500) for number in range(60)]
    with scripted_model(endless, [Reply("It is 42.")]) as script:
        values = await ask(assistant, "What is 6*7? " + "Think hard. " * 300, context={"max_tokens_per_run": 5000})
    assert answer_of(values) == "It is 42."
    assert values["stop_reason"] == "token_budget"
    assert len(script.requests) == 2


async def test_a_run_counts_the_tokens_of_its_model_calls(assistant: Graph) -> None:
    with scripted_model([Reply("DONE")], [Reply("Hello.")]):
        values = await ask(assistant, "Hello")
    assert values["tokens"] == 24
