"""Owns the checks of the calculator: it calculates what it should, and nothing can make it do anything else."""

import math
import random
import time

import pytest

from threadline.graphs.assistant.arithmetic import (
    MAX_BITS,
    ArithmeticProblem,
    NotArithmetic,
    Number,
    as_text,
    evaluate,
)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("2^10", "1024"),
        ("2^3 + 1", "9"),
        ("2**-1", "0.5"),
        ("6 / 2", "3"),
        ("7 // 2 + 7 % 2", "4"),
        ("-3 * --2", "-6"),
        ("0.1 + 0.2", "0.3"),
        (".5 * 4.", "2"),
        ("1.5e3", "1500"),
        ("12 \u00d7 3 \u00f7 4 \u2212 1", "8"),
        ("sqrt(16) + SQRT(9)", "7"),
        ("max(1, 2, 3) - min(4, 5)", "-1"),
        ("round(2.567, 2)", "2.57"),
        ("round(2.5)", "2"),
        ("floor(2.9) + ceil(2.1)", "5"),
        ("log(100, 10)", "2"),
        ("2 * pi", "6.28318530718"),
        ("abs(-4)", "4"),
        ("10^30", "1" + "0" * 30),
    ],
)
def test_an_expression_has_the_value_a_person_expects(expression: str, text: str) -> None:
    assert as_text(evaluate(expression)) == text


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("log(8, 1)", "division by zero"),
        ("sqrt(-1)", "not defined"),
        ("(-8) ** 0.5", "not a real number"),
        ("exp(1000)", "too large"),
        ("1e308 * 10", "too large"),
        ("1e999", "too large"),
        ("9 ** 9 ** 9", "too large"),
        ("10 ** 1000000000", "too large"),
        ("10 ** 400 * 1.5", "too large"),
        ("sqrt(1, 2)", "does not take 2 values"),
        ("max(1)", "does not take 1 values"),
        ("round(1.5, 99)", "up to 30"),
        ("+".join(["1"] * 150), "too complex"),
        ("-" * 298 + "1", "too complex"),
        ("1+" * 200 + "1", "longer than 300"),
    ],
)
def test_what_has_no_value_is_refused_with_a_reason(expression: str, problem: str) -> None:
    with pytest.raises(ArithmeticProblem, match=problem) as refusal:
        evaluate(expression)
    assert not isinstance(refusal.value, NotArithmetic)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "hello",
        "1 +",
        "1 2",
        "1(2)",
        "2pi",
        "007",
        "1_000",
        "1,000 + 2",
        "x = 1",
        "(x := 1)",
        "1 if 1 else 2",
        "1 < 2",
        "not 1",
        "True",
        "None",
        "1j",
        "0x10",
        "'a' * 9",
        'f"{1}"',
        "[1] * 9",
        "{1: 2}",
        "lambda: 1",
        "pi.real",
        "sqrt",
        "sqrt(x=2)",
        "sqrt(*1)",
        "pi(1)",
        "open(1)",
        "exec(1)",
        "__import__(1)",
        "__import__('os').system('true')",
        "().__class__.__bases__[0]",
        "1; 2",
        "1\x00",
        "\u00b2",
        "\u0663 + 1",
        "1 # comment",
        "(" * 200,
        "((((1)))",
    ],
)
def test_what_is_not_arithmetic_is_refused_without_running_it(text: str) -> None:
    with pytest.raises(NotArithmetic):
        evaluate(text)


def make_expression(source: random.Random, depth: int) -> tuple[str, int]:
    """A random expression of whole numbers with the value Python gives to its tree."""
    if depth == 0 or source.random() < 0.2:
        number = source.randint(0, 1000)
        return str(number), number
    (left, a), (right, b) = make_expression(source, depth - 1), make_expression(source, depth - 1)
    match source.choice("+-*/%n"):
        case "+":
            return f"({left}+{right})", a + b
        case "-":
            return f"({left} - {right})", a - b
        case "*":
            return f"({left} * {right})", a * b
        case "/" if b != 0:
            return f"({left} // {right})", a // b
        case "%" if b != 0:
            return f"({left} % {right})", a % b
        case _:
            return f"(-{left})", -a


def test_random_expressions_have_the_value_of_their_tree() -> None:
    source = random.Random(1)
    made = [make_expression(source, depth=4) for _ in range(1000)]
    short = [(expression, value) for expression, value in made if len(expression) <= 300]
    assert len(short) > 500
    for expression, value in short:
        assert evaluate(expression) == value, expression


@pytest.mark.parametrize(
    "alphabet", ["0123456789+-*/%^(). ", "09.eE+-*()^, sqrtpimaxloground", "".join(map(chr, range(600)))]
)
def test_random_text_is_a_bounded_number_or_a_refusal_and_quick(alphabet: str) -> None:
    source = random.Random(alphabet)
    started = time.perf_counter()
    numbers = 0
    for _ in range(4000):
        text = "".join(source.choices(alphabet, k=source.randint(0, 40)))
        try:
            value: Number = evaluate(text)
        except ArithmeticProblem:
            continue
        numbers += 1
        assert (isinstance(value, int) and value.bit_length() <= MAX_BITS) or math.isfinite(value), text
        assert as_text(value)
    assert numbers or alphabet[0] == "\x00"
    assert time.perf_counter() - started < 20
