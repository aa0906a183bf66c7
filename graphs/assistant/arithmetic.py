"""Owns the arithmetic of the `calculate` tool: a small language over numbers, with bounds on size and effort.

Nothing is executed: the expression is checked token by token, parsed, and walked.
"""

import ast
import math
import re
from collections.abc import Callable, Mapping

Number = int | float

MAX_LENGTH = 300
MAX_NODES = 150
MAX_DEPTH = 30
MAX_BITS = 2048

_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z_.])"
_TOKEN = re.compile(rf"\s+|{_NUMBER}|[A-Za-z_][A-Za-z0-9_]*|\*\*|//|[-+*/%(),]")
_SPELLINGS = {"^": "**", "\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-"}


class ArithmeticProblem(ValueError):
    """The expression cannot be calculated; says why, in words a person or a model can act on."""


class NotArithmetic(ArithmeticProblem):
    """The text is no expression of this language at all."""


def evaluate(expression: str) -> Number:
    """The value of an expression in numbers, + - * / // % ^ (or **), brackets, constants and functions.

    Raises NotArithmetic for anything else, and ArithmeticProblem for what has no value, for expressions over 300
    characters and for results over 2,048 bits (about 616 digits).
    """
    for spelling, operator in _SPELLINGS.items():
        expression = expression.replace(spelling, operator)
    _check_tokens(expression)
    tree = _parse(expression)
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES or _depth(tree) > MAX_DEPTH:
        raise ArithmeticProblem("the expression is too complex; split it up")
    try:
        value = _value(tree)
    except ZeroDivisionError:
        raise ArithmeticProblem("division by zero") from None
    except OverflowError:
        raise ArithmeticProblem("the result is too large") from None
    return _checked(value)


def as_text(value: Number) -> str:
    """A number as people write it: no trailing `.0`, at most 12 significant digits of a fraction."""
    if isinstance(value, int):
        return str(value)
    return format(value, ".12g")


def _check_tokens(expression: str) -> None:
    if not expression.strip():
        raise NotArithmetic("the expression is empty")
    if len(expression) > MAX_LENGTH:
        raise ArithmeticProblem(f"the expression is longer than {MAX_LENGTH} characters; split it up")
    position = 0
    while position < len(expression):
        token = _TOKEN.match(expression, position)
        if token is None:
            raise NotArithmetic(f"unexpected {expression[position]!r} at character {position + 1}")
        position = token.end()


def _parse(expression: str) -> ast.expr:
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise NotArithmetic(f"{expression.strip()!r} is not an arithmetic expression") from None


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _checked(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return _checked(_OPERATORS[type(operator)](_value(left), _value(right)))
        case ast.Name(id=name) if name.lower() in _CONSTANTS:
            return _CONSTANTS[name.lower()]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name.lower() in _FUNCTIONS:
            return _called(name.lower(), [_value(argument) for argument in arguments])
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
            known = ", ".join([*_CONSTANTS, *_FUNCTIONS])
            raise NotArithmetic(f"{name!r} is not known here; known are {known}")
    raise NotArithmetic("only numbers, + - * / // % ^, brackets and functions like sqrt(2) can be calculated")


def _called(name: str, arguments: list[Number]) -> Number:
    try:
        return _checked(_FUNCTIONS[name](*arguments))
    except TypeError:
        raise ArithmeticProblem(f"{name}() does not take {len(arguments)} values") from None
    except ValueError as error:
        if isinstance(error, ArithmeticProblem):
            raise
        raise ArithmeticProblem(f"{name}() is not defined for that value") from None


def _checked(value: object) -> Number:
    if isinstance(value, int) and not isinstance(value, bool):
        if value.bit_length() > MAX_BITS:
            raise ArithmeticProblem("the result is too large")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ArithmeticProblem("the result is too large")
        return value
    raise ArithmeticProblem("the result is not a real number")


def _power(base: Number, exponent: Number) -> Number:
    is_whole = isinstance(base, int) and isinstance(exponent, int)
    if is_whole and abs(base) > 1 and int(base).bit_length() * abs(exponent) > MAX_BITS:
        raise ArithmeticProblem("the power is too large")
    return _checked(base**exponent)


def _round(value: Number, digits: Number = 0) -> Number:
    if not isinstance(digits, int) or abs(digits) > 30:
        raise ArithmeticProblem("round() takes a whole number of digits up to 30")
    return round(value, digits) if digits else round(value)


_OPERATORS: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: _power,
}
_CONSTANTS: Mapping[str, Number] = {"pi": math.pi, "e": math.e}
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "abs": abs,
    "ceil": math.ceil,
    "cos": math.cos,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "log10": math.log10,
    "max": max,
    "min": min,
    "round": _round,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
}
