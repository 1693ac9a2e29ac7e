"""Filters: which runs are asked for, in a small language of its own. Nothing of it is ever evaluated as Python or SQL.

    config.lr > 0.01 and summary.acc >= 0.9 and tags has "a"
    state in ["running", "crashed"] and not (name like "test-*" or archived)
    created > "2026-11-01" and `summary.val acc` == null

    expression = all { "or" all }          all = part { "and" part }       part = "not" part | test
    test = name [ operator value ]  |  "(" expression ")"                  a name alone: whether it is true, or there
    operator = == != < <= > >= | "in" | "not in" | "has" | "contains" | "like"
    value = number | "text" | true | false | null | [value, ...]
    name = a field of a run, config.NAME or summary.NAME; in `backquotes` when it has other characters than A-z 0-9 _ . / - : %

A comparison with a value that is not there, or of another kind, is false (`!=` and `not in` are true). `has`: a list has the
element. `contains`: a text holds the other, `like`: with * and ?, both without regard to case. Times compare with text such
as "2026-11-01" or "2026-11-01T12:00" (UTC) and with seconds since 1970.
"""

import datetime
import difflib
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from milepost.sdk.errors import Error
from milepost.server.records import FIELDS, TIMES, RunLine

Test = Callable[[RunLine], bool]

MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 40
_OPERATORS: Final = frozenset(("==", "!=", "<", "<=", ">", ">=", "in", "not in", "has", "contains", "like"))
_WORDS: Final = frozenset(("and", "or", "not", "in", "has", "contains", "like", "true", "false", "null"))
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | `(?P<quoted>[^`]+)`
      | (?P<name>[A-Za-z_][\w./:%-]*)
      | (?P<sign>==|!=|<=|>=|=|<|>|\(|\)|\[|\]|,)
    )""",
    re.VERBOSE,
)


class FilterError(Error, ValueError):
    """A filter that cannot be understood. at: the character where the trouble is."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(f"{text} (at character {at + 1})")
        self.at = at


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def compile_filter(text: str) -> Test:
    """A test of runs. Raises `FilterError`; an empty text is true for every run."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"a filter of {len(text):,} characters is too long; {MAX_LENGTH:,} are allowed", MAX_LENGTH)
    tokens = _tokens(text)
    if len(tokens) == 1:
        return lambda _: True
    parser = _Parser(tokens)
    test = parser.expression(0)
    parser.expect_end()
    return test


def names_field(text: str, field: str) -> bool:
    """Whether a filter that is valid asks for a field; not whether its name stands in a text in quotes."""
    return any(token.kind in ("name", "quoted") and token.text == field for token in _tokens(text))


def check_column(name: str, at: int = 0) -> str:
    """The name when it is a field, config.NAME or summary.NAME. Raises `FilterError` with the nearest field."""
    if name in FIELDS or (name.startswith(("config.", "summary.")) and name.partition(".")[2]):
        return name
    prefix, _, rest = name.partition(".")
    meant = difflib.get_close_matches(prefix, ("config", "summary"), 1, 0.6) if rest else []
    near = (
        [f"{meant[0]}.{rest}"]
        if meant
        else [*difflib.get_close_matches(name, FIELDS, 1, 0.6), f"config.{name}", f"summary.{name}"]
    )
    hint = f"; did you mean {' or '.join(near)}?"
    raise FilterError(f"{name!r} is no field of a run{hint} Fields: {', '.join(FIELDS)}, config.NAME, summary.NAME", at)


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            if not text[at:].strip():
                break
            at += len(text[at:]) - len(text[at:].lstrip())
            raise FilterError(_why_no_token(text[at:]), at)
        kind = match.lastgroup or ""
        found.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    found.append(_Token("end", "the end", len(text)))
    return found


def _why_no_token(rest: str) -> str:
    if rest[0] in "\"'`":
        return f"what begins with {rest[0]} here has no end"
    if re.match(r"[-+.]*\d", rest):
        word = re.split(r"[\s()\[\],]", rest, maxsplit=1)[0]
        return f"{word[:40]!r} is no number"
    meant = {"&": "and", "|": "or", "!": "not or !=", "~": "like or contains"}.get(rest[0])
    return f"{rest[0]!r} is not part of the language" + (f"; write {meant}" if meant else "")


class _Parser:
    """Recursive descent over the tokens; each rule gives a closure."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += token.kind != "end"
        return token

    def _word(self, *words: str) -> bool:
        """Whether the next token is one of these words or signs; then it is taken."""
        token = self._peek()
        if token.kind in ("name", "sign") and token.text.lower() in words:
            self._next += 1
            return True
        return False

    def expect_end(self) -> None:
        """Raise unless everything was read."""
        token = self._peek()
        if token.kind != "end":
            raise FilterError(f"expected and, or, or the end, got {token.text!r}", token.at)

    def expression(self, depth: int) -> Test:
        """all { "or" all }."""
        parts = [self._all(depth)]
        while self._word("or"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else lambda run: any(part(run) for part in parts)

    def _all(self, depth: int) -> Test:
        parts = [self._part(depth)]
        while self._word("and"):
            parts.append(self._part(depth))
        return parts[0] if len(parts) == 1 else lambda run: all(part(run) for part in parts)

    def _part(self, depth: int) -> Test:
        if depth > MAX_DEPTH:
            raise FilterError(f"nested deeper than {MAX_DEPTH} levels", self._peek().at)
        if self._word("not"):
            inner = self._part(depth + 1)
            return lambda run: not inner(run)
        if self._word("("):
            inner = self.expression(depth + 1)
            if not self._word(")"):
                raise FilterError(f"expected ), got {self._peek().text!r}", self._peek().at)
            return inner
        return self._test()

    def _test(self) -> Test:
        token = self._take()
        if token.kind not in ("name", "quoted") or (token.kind == "name" and token.text.lower() in _WORDS):
            raise FilterError(f"expected the name of a field, got {token.text!r}", token.at)
        column = check_column(token.text, token.at)
        operator = self._operator()
        if operator is None:
            return lambda run: bool(run.value(column))
        at = self._peek().at
        return _comparison(column, operator, self._value(column in TIMES, 0), at)

    def _operator(self) -> str | None:
        token = self._peek()
        word = token.text.lower()
        if token.kind == "name" and word == "not" and self._tokens[self._next + 1].text.lower() == "in":
            self._next += 2
            return "not in"
        if token.kind in ("name", "sign") and (word in _OPERATORS or word == "="):
            self._next += 1
            return "==" if word == "=" else word
        return None

    def _value(self, time: bool, depth: int) -> Any:
        token = self._take()
        if token.kind == "number":
            return float(token.text) if re.search(r"[.eE]", token.text) else int(token.text[:400])
        if token.kind == "text":
            text = re.sub(r"\\(.)", r"\1", token.text[1:-1])
            return _moment(text, token.at) if time else text
        if token.kind == "name" and token.text.lower() in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[token.text.lower()]
        if token.text == "[" and token.kind == "sign" and depth == 0:
            return self._list(time)
        raise FilterError(f'expected a number, "text", true, false, null or a list, got {token.text!r}', token.at)

    def _list(self, time: bool) -> list[Any]:
        found: list[Any] = []
        if self._word("]"):
            return found
        while True:
            found.append(self._value(time, 1))
            if self._word("]"):
                return found
            if not self._word(","):
                raise FilterError(f"expected , or ], got {self._peek().text!r}", self._peek().at)


def _moment(text: str, at: int) -> float:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise FilterError(f'{text!r} is no time; write "2026-11-01" or "2026-11-01T12:00:00"', at) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _comparison(column: str, operator: str, wanted: Any, at: int) -> Test:
    if operator in ("in", "not in"):
        if not isinstance(wanted, list):
            raise FilterError(f'{operator} takes a list such as ["a", "b"], got {wanted!r}', at)
        several = list(wanted)
        if operator == "in":
            return lambda run: any(_equal(run.value(column), each) for each in several)
        return lambda run: not any(_equal(run.value(column), each) for each in several)
    if isinstance(wanted, list):
        raise FilterError(f"{operator} takes one value, not a list; use in", at)
    if operator == "==":
        return lambda run: _equal(run.value(column), wanted)
    if operator == "!=":
        return lambda run: not _equal(run.value(column), wanted)
    if operator == "has":
        return lambda run: isinstance(value := run.value(column), list) and any(_equal(each, wanted) for each in value)
    if operator in ("contains", "like"):
        if not isinstance(wanted, str):
            raise FilterError(f"{operator} takes a text, got {wanted!r}", at)
        holds = _holds(wanted) if operator == "contains" else _like(wanted)
        return lambda run: isinstance(value := run.value(column), str) and holds(value.casefold())
    return _ordered(column, operator, wanted)


def _ordered(column: str, operator: str, wanted: Any) -> Test:
    number = _is_number(wanted)
    if not number and not isinstance(wanted, str):
        return lambda _: False

    def test(run: RunLine) -> bool:
        value = run.value(column)
        if not (_is_number(value) if number else isinstance(value, str)):
            return False
        if operator == "<":
            return bool(value < wanted)
        if operator == "<=":
            return bool(value <= wanted)
        return bool(value > wanted if operator == ">" else value >= wanted)

    return test


def _holds(part: str) -> Callable[[str], bool]:
    folded = part.casefold()
    return lambda text: folded in text


def _like(pattern: str) -> Callable[[str], bool]:
    """Whether a text fits a pattern of * and ?. What stands between stars is looked for from left to right, each once."""
    first, *others = [_piece(part) for part in pattern.casefold().split("*")]
    if not others:
        return lambda text: first.fullmatch(text) is not None
    *middle, last = others
    ends = len(pattern.casefold().rpartition("*")[2])

    def fits(text: str) -> bool:
        begin = first.match(text)
        if begin is None:
            return False
        at = begin.end()
        for piece in middle:
            found = piece.search(text, at)
            if found is None:
                return False
            at = found.end()
        return len(text) - ends >= at and last.match(text, len(text) - ends) is not None

    return fits


def _piece(part: str) -> re.Pattern[str]:
    """A text without stars, where ? is any character: it repeats nothing, so it is found in one pass."""
    return re.compile("".join("." if each == "?" else re.escape(each) for each in part), re.DOTALL)


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if _is_number(value) or _is_number(wanted):
        return _is_number(value) and _is_number(wanted) and bool(value == wanted)
    return type(value) is type(wanted) and bool(value == wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def sort_key(column: str) -> Callable[[RunLine], tuple[int, Any]]:
    """What orders runs by a column: numbers first, then texts, then the rest; runs without a value come last either way."""
    check_column(column)

    def key(run: RunLine) -> tuple[int, Any]:
        value = run.value(column)
        if isinstance(value, bool):
            return 0, float(value)
        if _is_number(value) and value == value:
            return 0, value
        return (1, value.casefold()) if isinstance(value, str) else (2, str(value))

    return key
