"""The page of the API at /api/v1/docs: every route, what it takes and gives, a curl line; written from the description itself.

Plain HTML of one file, without a script: it can be read where nothing else can be loaded, and in a text browser.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from milepost.server import page

PATH: Final = "/api/v1/docs"

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_STYLE: Final = """
:root { color-scheme: light dark; --line: light-dark(#d8dae2, #3a3d49); --soft: light-dark(#5b6070, #a3a8b8);
    --box: light-dark(#f5f6f9, #1d1f27); --accent: light-dark(#3547c4, #98a6ff); }
body { font: 15px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1.5rem 1.25rem 6rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; text-transform: capitalize; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; } h4 { font-size: .85rem; color: var(--soft); margin: .9rem 0 .2rem; }
a { color: var(--accent); } p { margin: .4rem 0; } .soft { color: var(--soft); }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { background: var(--box); padding: .6rem .8rem; overflow-x: auto; border-radius: 6px; }
details { border: 1px solid var(--line); border-radius: 8px; margin: .45rem 0; } details > div { padding: 0 .9rem .8rem; }
summary { cursor: pointer; padding: .5rem .9rem; } summary code { font-size: 14px; } summary .soft { margin-left: .6rem; }
.method { display: inline-block; min-width: 3.7rem; font-weight: 700; color: var(--accent); }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid var(--line); padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; } td:first-child { white-space: nowrap; }
:target { outline: 2px solid var(--accent); }
"""

_CODE: Final = re.compile(r"`([^`]+)`")
_MEMBER: Final = re.compile(r"\n(?=[a-z_]+(, [a-z_]+)*: )")

_INTRODUCTION: Final = """
<p>Answers are JSON. Times are seconds since 1970 (UTC), durations seconds, sizes bytes; NaN and the infinities are the texts
<code>"NaN"</code>, <code>"Infinity"</code>, <code>"-Infinity"</code>. A run is named <code>PROJECT/RUN_ID</code>. Send a key as
<code>Authorization: Bearer mp_...</code>. An error is <code>application/problem+json</code> with a <code>detail</code> that says
what to do. For programs: <a href="/openapi.json">openapi.json</a>.</p>
"""


def route() -> Route:
    """The route of the page."""
    return Route(PATH, show, methods=["GET"], include_in_schema=False)


async def show(request: Request) -> Response:
    """The page of the API."""
    app: FastAPI = request.app
    if not hasattr(app.state, "api_page"):
        app.state.api_page = _written(app)
    return HTMLResponse(app.state.api_page, headers={**page.HEADERS, "Content-Security-Policy": _POLICY})


def _written(app: FastAPI) -> str:
    described = app.openapi()
    schemas: Mapping[str, Any] = described["components"]["schemas"]
    sections: dict[str, list[str]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(_operation(method.upper(), path, operation))
    body = "".join(f"<h2>{escape(name)}</h2>{''.join(found)}" for name, found in sections.items())
    told = "".join(_schema(name, schema) for name, schema in sorted(schemas.items()))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>milepost API</title><style>{_STYLE}</style>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head><body><main>'
        f"<h1>The API of milepost</h1>{_INTRODUCTION}{body}<h2>Objects</h2>{told}</main></body></html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    """A route of the description."""
    parameters: Sequence[Mapping[str, Any]] = operation.get("parameters", ())
    rows = [
        (f"{each['name']}{' *' if each.get('required') else ''}", each["in"], _type(each["schema"]), _about(each))
        for each in parameters
    ]
    parts = [_text(operation.get("description", ""))]
    if "x-scope" in operation:
        parts.append(f'<p class="soft">Asks for a key with the scope <code>{operation["x-scope"]}</code>.</p>')
    if rows:
        parts.append("<h4>Parameters (* has to be there)</h4>" + _table(("name", "in", "type", ""), rows))
    body: Mapping[str, Any] = operation.get("requestBody", {}).get("content", {})
    if body:
        schema = body.get("application/json", {}).get("schema")
        told = f"{_type(schema)}: " if schema else ""
        parts.append(f"<h4>Body</h4><p>{told}{', '.join(f'<code>{escape(kind)}</code>' for kind in body)}</p>")
    answers = [
        (escape(status), ", ".join(_content(answer)), escape(answer.get("description", "")))
        for status, answer in operation["responses"].items()
    ]
    parts.append("<h4>Answers</h4>" + _table(("status", "is", ""), answers))
    parts.append(f"<h4>curl</h4><pre>{escape(_curl(method, path, body))}</pre>")
    first = operation.get("description", "").partition("\n")[0]
    return _details(method, path, first, "".join(parts))


def _details(method: str, path: str, first: str, body: str) -> str:
    name = quote(f"{method}-{path}", safe="")
    return (
        f'<details id="{name}"><summary><code><span class="method">{method}</span>{escape(path)}</code>'
        f'<span class="soft">{_marked(first)}</span></summary><div>{body}</div></details>'
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    rows = [
        (f"{each}{' *' if each in schema.get('required', ()) else ''}", _type(told), _about({"schema": told}))
        for each, told in schema.get("properties", {}).items()
    ]
    about = _text(schema.get("description", ""))
    return f'<h3 id="{escape(name)}">{escape(name)}</h3>{about}{_table(("member", "type", ""), rows)}'


def _content(answer: Mapping[str, Any]) -> Iterable[str]:
    for kind, told in answer.get("content", {}).items():
        schema = told.get("schema")
        yield _type(schema) if schema else f"<code>{escape(kind)}</code>"


def _type(schema: Mapping[str, Any]) -> str:
    """A type in a few words, with links to objects."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items = schema.get("items") or {}
        return f"list of {_type(items)}" if items else "list"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"names to {_type(schema['additionalProperties'])}"
    return escape(schema.get("type", "any value"))


def _about(each: Mapping[str, Any]) -> str:
    """What is said of a parameter, and its default and limits."""
    schema = each["schema"]
    several = [schema, *schema.get("anyOf", ())]
    said = [escape(each.get("description") or schema.get("description") or "")]
    if schema.get("default") not in (None, ""):
        said.append(f"default <code>{escape(str(schema['default']))}</code>")
    for word, name in (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most")):
        found = next((one[word] for one in several if word in one), None)
        if found is not None and abs(found) < 2**53 and (word, found) != ("minimum", 0):
            said.append(f"{name} {found:,g}" if abs(found) < 1e6 else f"{name} {found:,.0f}")
    return "; ".join(filter(None, said))


def _curl(method: str, path: str, body: Mapping[str, Any]) -> str:
    address = f"$MILEPOST_URL{path.replace('{', '').replace('}', '')}"
    words = ["curl"]
    if method == "HEAD":
        words.append("--head")
    elif method != "GET" and (method != "POST" or not body):
        words.append(f"-X {method}")
    words += ['-H "Authorization: Bearer $MILEPOST_API_KEY"']
    if body:
        kind = "application/json" if "application/json" in body else next(iter(body))
        words += [f"-H 'Content-Type: {kind}'", "-d @body.json" if kind.endswith("json") else "--data-binary @body"]
    return " ".join([*words, f'"{address}"'])


def _text(text: str) -> str:
    """Paragraphs; lines that stand apart, as tables of text do, stay as they are."""
    return "".join(
        f"<pre>{escape(part)}</pre>" if "\n    " in f"\n{part}" else f"<p>{_marked(part)}</p>"
        for part in text.split("\n\n")
        if part.strip()
    )


def _marked(text: str) -> str:
    """Text with what stands in backquotes as code, and a line for each member that it explains."""
    return _MEMBER.sub("<br>", _CODE.sub(r"<code>\1</code>", escape(text)))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{escape(word)}</th>" for word in head)
    lines = (
        "".join(f"<td>{f'<code>{cell}</code>' if at == 0 else cell}</td>" for at, cell in enumerate(row))
        for row in rows
    )
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
