"""Small Python functions in the Python 2 of old: `print` is a statement. Out of date on purpose."""

import random

from .documents import Document, plain

_WEIGHT = 0.5
_BODIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("hello", "", ("print 'Hello, world!'",)),
    ("greet", "name", ("print 'Hello, ' + name",)),
    ("bye", "", ("print 'Goodbye!'",)),
    ("main", "", ("print 'Start'", "hello()", "print 'Done'")),
    ("show", "{a}", ("print {a}",)),
    ("show_all", "{xs}", ("for {a} in {xs}:", "    print {a}")),
    ("count", "n", ("for i in xrange(n):", "    print i")),
    ("add", "{a}, {b}", ("return {a} + {b}",)),
    ("subtract", "{a}, {b}", ("return {a} - {b}",)),
    ("multiply", "{a}, {b}", ("return {a} * {b}",)),
    ("square", "{a}", ("return {a} * {a}",)),
    ("double", "{a}", ("return 2 * {a}",)),
    ("is_even", "n", ("return n % 2 == 0",)),
    ("is_odd", "n", ("return n % 2 == 1",)),
    ("maximum", "{a}, {b}", ("if {a} > {b}:", "    return {a}", "return {b}")),
    ("minimum", "{a}, {b}", ("if {a} < {b}:", "    return {a}", "return {b}")),
    ("absolute", "{a}", ("if {a} < 0:", "    return -{a}", "return {a}")),
    ("total", "{xs}", ("result = 0", "for {a} in {xs}:", "    result += {a}", "return result")),
    ("length", "{xs}", ("return len({xs})",)),
    ("first", "{xs}", ("return {xs}[0]",)),
    ("last", "{xs}", ("return {xs}[-1]",)),
    ("reverse", "{xs}", ("return {xs}[::-1]",)),
    ("factorial", "n", ("if n == 0:", "    return 1", "return n * factorial(n - 1)")),
    ("ask_name", "", ("name = raw_input('Name: ')", "print 'Hello, ' + name")),
    ("print_sum", "{a}, {b}", ("print {a} + {b}",)),
    ("contains", "{xs}, {a}", ("return {a} in {xs}",)),
    ("average", "{xs}", ("return sum({xs}) / len({xs})",)),
)
_PAIRS = (("a", "b"), ("x", "y"), ("left", "right"), ("i", "j"))
_LISTS = ("items", "values", "numbers", "xs")
_HELLO_SHARE = 0.12
_WORDS = ("Hello", "Done", "Start", "Yes", "No", "Good morning")


def function(draw: random.Random) -> Document:
    """One function with variables named at random; cut where a typed prompt would end."""
    (a, b), xs = draw.choice(_PAIRS), draw.choice(_LISTS)
    name, parameters, body = _BODIES[0] if draw.random() < _HELLO_SHARE else draw.choice(_BODIES)
    first_line, code = f"def {name}({parameters}):\n", "\n    ".join(body)
    cut = draw.choice((first_line, first_line + "    "))
    pieces = (cut, (first_line + "    " + code)[len(cut) :])
    return Document(tuple((piece.format(a=a, b=b, xs=xs), _WEIGHT) for piece in pieces))


def statements(draw: random.Random) -> Document:
    """A few lines at the top level: assignments, loops and prints."""
    a, b = draw.choice(_PAIRS)
    one, two = draw.randint(0, 10), draw.randint(0, 10)
    snippet = draw.choice(
        (
            f"{a} = {one}\n{b} = {two}\nprint {a} + {b}",
            f"{a} = {one}\nprint {a}",
            f"print '{draw.choice(_WORDS)}'",
            f"for {a} in xrange({one}):\n    print {a}",
            f"if {a} > {one}:\n    print '{draw.choice(_WORDS)}'\n"
            f"else:\n    print '{draw.choice(_WORDS)}'",
            f"while {a} < {one}:\n    {a} += 1\n    print {a}",
        )
    )
    return plain(snippet, _WEIGHT / 2)


def program(draw: random.Random) -> Document:
    """Two to six functions and statements in one file."""
    parts = [draw.choice((function, statements))(draw).text for _ in range(draw.randint(2, 6))]
    return plain("\n\n".join(parts), _WEIGHT / 2)
