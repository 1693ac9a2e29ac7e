"""`${NAME}` in the values of a config file, as OpenTelemetry's configuration data model rules it.

    ${NAME}  ${env:NAME}     the variable; nothing when it is not set or empty
    ${NAME:-default}         the default when it is not set or empty
    ${NAME:?message}         an error with that message when it is not set or empty
    $$                       one $

Read once, from left to right: what a variable holds is not read again, and keys are left alone. Everything else between
`${` and `}` is an error, so that a slip never travels as text.
Source: https://opentelemetry.io/docs/specs/otel/configuration/data-model/#environment-variable-substitution
(`:?` is milepost's own; the specification makes it an error).
"""

import re
from collections.abc import Mapping

import msgspec

_TOKEN = re.compile(r"\$\$|\$\{(?P<body>[^}\n]*)(?P<end>\}?)")
_BODY = re.compile(r"(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<operator>:-|:\?)(?P<rest>.*))?", re.DOTALL)
_FORMS = "write ${NAME}, ${NAME:-default} or ${NAME:?message}, and $$ for a plain $"


class SubstitutionError(ValueError):
    """A reference that is wrong, or that names a variable which must be set."""


class Substituted(msgspec.Struct, frozen=True):
    """A text with its references replaced.

    lone:      whether the text was one reference and nothing else.
    shown:     the text to show in messages: references without their defaults, never what a variable holds.
    variables: every variable named; `unset` those that gave nothing because they are not set.
    """

    text: str
    lone: bool
    shown: str
    variables: tuple[str, ...]
    unset: tuple[str, ...]


def substitute(text: str, environ: Mapping[str, str]) -> Substituted:
    """`text` with each reference replaced from `environ`. Raises SubstitutionError; its text holds no value."""
    written: list[str] = []
    shown: list[str] = []
    variables: list[str] = []
    unset: list[str] = []
    position = 0
    lone = False
    for token in _TOKEN.finditer(text):
        before = text[position : token.start()]
        written.append(before)
        shown.append(before)
        position = token.end()
        if token["body"] is None:
            written.append("$")
            shown.append("$")
            continue
        name, value, is_set = _look_up(token, environ)
        lone = token.span() == (0, len(text))
        written.append(value)
        shown.append(f"${{{name}}}")
        variables.append(name)
        if not is_set:
            unset.append(name)
    written.append(text[position:])
    shown.append(text[position:])
    return Substituted("".join(written), lone, "".join(shown), tuple(variables), tuple(unset))


def _look_up(token: re.Match[str], environ: Mapping[str, str]) -> tuple[str, str, bool]:
    """The variable's name, what stands for it, and whether that was given by the variable or a default."""
    if not token["end"]:
        raise SubstitutionError(f'"{_short(token[0])}" has no closing brace; {_FORMS}')
    body = _BODY.fullmatch(token["body"])
    if body is None:
        raise SubstitutionError(f'"{_short(token[0])}" is not a reference; {_FORMS}')
    name, operator, rest = body["name"], body["operator"], body["rest"] or ""
    if "${" in rest:
        raise SubstitutionError(f'"${{{name}{operator}..." holds another reference; they do not nest')
    value = environ.get(name, "")
    if value:
        return name, value, True
    if operator == ":-":
        return name, rest, True
    if operator == ":?":
        raise SubstitutionError(f"${{{name}}} must be set: {rest}" if rest else f"${{{name}}} must be set")
    return name, "", name in environ


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"
