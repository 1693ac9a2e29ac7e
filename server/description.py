"""Description: the OpenAPI file of everything the server answers, the routes of programs that send included.

FastAPI describes the routes that it has, apart from their keys and the form of their errors, which are the same for all of them
and are added here. The routes that take runs in read their bodies by themselves and are described from the types of the wire.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI

from milepost.sdk import wire
from milepost.server import blobs, ingest
from milepost.server.auth import scope_of
from milepost.server.otlp import JSON, PROTOBUF, Receiver
from milepost.server.problems import MEDIA_TYPE

_PROBLEM: Final = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemModel"}}}
_TOLD: Final = {
    "400": "what was asked for cannot be answered, or the body is not what its headers say",
    "401": "no key, or one that is wrong, revoked or over",
    "403": "the key lacks a scope, or is for another project",
    "404": "there is no such thing",
    "409": "another state than the request thinks",
    "410": "the run was deleted",
    "413": "a limit was passed",
    "415": "a form that is not known",
    "422": "the request is not of this form",
    "429": "not now; Retry-After says when",
    "503": "not now; Retry-After says when",
    "507": "the disk is full; Retry-After says when to try again",
}
_MORE: Final = {
    "POST /api/v1/bulk": ("409", "503", "507"),
    "POST /api/v1/keys": ("503", "507"),
    "DELETE /api/v1/keys/{number}": ("503", "507"),
    "GET /api/v1/events": ("503",),
    "GET /api/v1/projects/{project}/views/{view}": ("409",),
    "POST /api/v1/projects/{project}/views": ("409", "503", "507"),
    "PATCH /api/v1/projects/{project}/views/{view}": ("409", "503", "507"),
    "DELETE /api/v1/projects/{project}/views/{view}": ("409", "503", "507"),
}
"""What else the routes of FastAPI answer."""
_BODIES: Final = ("400", "413", "415")
_NOT_NOW: Final = ("503", "507")


class _Receipt(msgspec.Struct):
    """What is stored of a writer. gaps: intervals of numbers, first and last, that did not come."""

    stored_through: int
    duplicates: int
    gaps: list[list[int]]


class _Limits(msgspec.Struct):
    """How large things may be: bytes of a body, sent, decoded, and of columns that are not packed; rows and keys of a batch."""

    body_bytes: int
    decoded_bytes: int
    loose_bytes: int
    rows: int
    keys: int


class DescribedApp(FastAPI):
    """The app, whose description is whole."""

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _whole(super().openapi())
        return self.openapi_schema


def _whole(told: dict[str, Any]) -> dict[str, Any]:
    schemas = told["components"]["schemas"]
    types = [wire.WireBatch, _Receipt, _Limits, blobs.NamedContent, ingest.Beat]
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for name, schema in found.items():
        schema["description"] = inspect.cleandoc(schema.get("description", ""))
        schemas[name.lstrip("_")] = schema
    told["paths"] |= _sending()
    told["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "mp_ID_SECRET"}}
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            _complete(path, method.upper(), operation)
    return told


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Add what is the same for all: who may ask, and how errors are told."""
    responses: dict[str, Any] = operation["responses"]
    scope = scope_of(method, path.replace("{", "").replace("}", ""))
    if scope is not None:
        operation["security"] = [{"key": []}]
        operation["x-scope"] = scope
        for status in ("401", "403"):
            responses.setdefault(status, {"description": _TOLD[status]})
    for status in (*_MORE.get(f"{method} {path}", ()), *(("400", "413") if "requestBody" in operation else ())):
        responses.setdefault(status, {"description": _TOLD[status]})
    otlp = path.startswith("/v1/")
    for status, answer in responses.items():
        if status >= "400" and method != "HEAD":
            answer["content"] = _contents((PROTOBUF, JSON, MEDIA_TYPE), {}) if otlp else _PROBLEM
    operation["responses"] = dict(sorted(responses.items()))


def _sending() -> dict[str, Any]:
    """The routes that take runs in."""
    batch = {kind: {"schema": _ref("WireBatch")} for kind in (wire.JSON_TYPE, "application/json")}
    batch |= _contents((wire.MEDIA_TYPE,), {"type": "string", "format": "binary"})
    run, writer = _parameter("run"), _parameter("writer", pattern="^[0-9a-f]{16}$")
    project = _parameter("project", "query", description="the key's own when left out", required=False)
    sha256 = _parameter("hash", pattern="^[0-9a-f]{64}$")
    sizes = [_parameter(name, "header", type="integer") for name in ("Upload-Offset", "Upload-Length")]
    octets = _contents(("application/octet-stream",), {"type": "string", "format": "binary"})
    receipt = {"200": _answer("what is stored", _ref("Receipt"))}
    whole = {"200": {"description": "it is there"}}
    content = "/api/v1/blobs/sha256/{hash}"
    otlp = Receiver()
    return {
        "/api/v1/runs/{run}/batches": {
            "post": _route(
                ingest.batches, [run], receipt, (*_BODIES, "409", "410", "422", "429", *_NOT_NOW), batch
            )
        },
        "/api/v1/runs/{run}/writers/{writer}": {
            "get": _route(ingest.writer_state, [run, writer, project], receipt, ("410",))
        },
        "/api/v1/runs/{run}/writers/{writer}/heartbeat": {
            "post": _route(
                ingest.heartbeat, [run, writer], {"204": {"description": "noted"}}, ("404", "413", "422"), _json("Beat")
            )
        },
        "/api/v1/limits": {"get": _route(ingest.limits, [], {"200": _answer("limits", _ref("Limits"))}, ())},
        content: {
            "head": _route(blobs.ask, [sha256, project], whole, ("400", "404")),
            "get": _route(blobs.content, [sha256], {"200": {"description": "its bytes", "content": octets}}, ("400", "404")),
            "patch": _route(
                blobs.piece,
                [sha256, project, *sizes],
                {"200": {"description": "it is complete"}, "204": {"description": "more is to come"}},
                ("400", "409", "413", "422", *_NOT_NOW),
                octets,
            ),
        },
        "/api/v1/runs/{run}/files/{path}": {
            "put": _route(
                blobs.name_file,
                [run, _parameter("path")],
                {"200": _answer("it has the name", {"type": "object"})},
                ("404", "410", "413", "422", *_NOT_NOW),
                _json("NamedContent"),
            )
        },
        **{
            f"/v1/{signal}": {
                "post": _route(
                    take,
                    [],
                    {"200": {"description": "taken, or partial success", "content": _contents((PROTOBUF, JSON), {})}},
                    (*_BODIES, "429", "503"),
                    _contents((PROTOBUF, JSON), {}),
                )
            }
            for signal, take in (("metrics", otlp.metrics), ("logs", otlp.logs))
        },
    }  # fmt: skip


def _route(
    endpoint: Any, parameters: list[Any], answers: Mapping[str, Any], errors: Iterable[str], body: Any = None
) -> dict[str, Any]:
    about = inspect.getdoc(endpoint) or ""
    told: dict[str, Any] = {
        "tags": ["send"],
        "operationId": endpoint.__name__,
        "summary": endpoint.__name__.replace("_", " ").capitalize(),
        "description": about,
        "parameters": parameters,
        "responses": {**answers, **{status: {"description": _TOLD[status]} for status in errors}},
    }
    if body is not None:
        told["requestBody"] = {"required": True, "content": body}
    return told


def _parameter(name: str, where: str = "path", *, type: str = "string", **more: Any) -> dict[str, Any]:
    schema = {"type": type, **{key: more.pop(key) for key in ("pattern",) if key in more}}
    return {"name": name, "in": where, "required": True, "schema": schema, **more}


def _contents(kinds: Iterable[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: {"schema": schema} if schema else {} for kind in kinds}


def _answer(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(name)}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
