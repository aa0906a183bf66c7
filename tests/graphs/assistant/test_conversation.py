"""Owns the checks of what a model is shown of a conversation: the current turn, the latest messages, no open call."""

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from threadline.graphs.assistant.conversation import count_tokens, current_turn, question, shown_to_model

CALL = {"name": "calculate", "args": {}, "id": "1", "type": "tool_call"}


def test_a_turn_is_what_follows_the_last_question() -> None:
    answered = [HumanMessage("first"), AIMessage("one"), HumanMessage([{"type": "text", "text": "second"}])]
    assert current_turn(answered) == []
    assert question(answered) == "second"
    reply = AIMessage("two")
    assert current_turn([*answered, reply]) == [reply]
    assert current_turn([reply]) == [reply]
    assert question([reply]) == ""


def test_an_open_call_is_answered_before_a_model_sees_it() -> None:
    invalid = {"name": "calculate", "args": "{", "id": "2", "error": None, "type": "invalid_tool_call"}
    messages = [
        HumanMessage("q"),
        AIMessage("", tool_calls=[CALL], invalid_tool_calls=[invalid]),
        HumanMessage("again"),
    ]
    shown = shown_to_model(messages, 1000)
    assert [type(message) for message in shown] == [HumanMessage, AIMessage, ToolMessage, ToolMessage, HumanMessage]
    assert [message.tool_call_id for message in shown if isinstance(message, ToolMessage)] == ["1", "2"]
    closed = [HumanMessage("q"), AIMessage("", tool_calls=[CALL]), ToolMessage("6", tool_call_id="1")]
    assert shown_to_model(closed, 1000) == closed


def test_a_long_conversation_is_cut_where_a_turn_begins() -> None:
    turns: list[BaseMessage] = [
        message for number in range(100) for message in (HumanMessage(f"q{number}"), AIMessage("a"), AIMessage("b"))
    ]
    shown = shown_to_model(turns, 200)
    assert count_tokens(turns[:3]) > 200 - count_tokens(shown) >= 0
    assert isinstance(shown[0], HumanMessage)
    assert shown == turns[-len(shown) :]


def test_one_long_turn_is_shown_from_its_question() -> None:
    turn: list[BaseMessage] = [HumanMessage("old"), HumanMessage("q"), *[AIMessage("a")] * 100]
    assert shown_to_model(turn, 100) == turn[1:]


def test_the_longest_messages_of_a_turn_are_cut_until_it_fits() -> None:
    turn = [
        HumanMessage("q " * 50_000),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("result " * 20_000, tool_call_id="1"),
        AIMessage("short"),
    ]
    shown = shown_to_model(turn, 1000)
    assert count_tokens(shown) < 1100
    assert [type(message) for message in shown] == [type(message) for message in turn]
    assert str(shown[0].content).endswith("[... the rest is left out here]")
    assert shown[3] == turn[3]


def test_nothing_is_shown_of_nothing() -> None:
    assert shown_to_model([], 1000) == []
