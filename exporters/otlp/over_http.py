"""OTLP over HTTP: one POST per request, on one connection that is kept.

Redirects are not followed: a POST that is sent elsewhere may lose its body or its headers, and stock exporters take the
redirect itself for success.

Source: OpenTelemetry Protocol specification, "OTLP/HTTP"; RFC 9110 for Retry-After.
"""

import datetime
import email.utils
import gzip
import json
import math
import re
import ssl
import zlib
from typing import TYPE_CHECKING, Final

from milepost.exporters.otlp import wire
from milepost.exporters.otlp.sender import Answer, is_aged, partial_success, short, unusable
from milepost.exporters.otlp.target import Target

if TYPE_CHECKING:
    import httpx

RETRYABLE: Final = frozenset((408, 425, 429, 502, 503, 504))
_SETTINGS: Final = {
    401: "the back end wants other credentials; set headers",
    403: "the back end does not allow it; look at headers",
    407: "the proxy wants credentials; look at HTTPS_PROXY and NO_PROXY",
    415: "the back end does not take this encoding; look at protocol and compression",
    421: "another host answers there; look at endpoint",
    426: "the back end wants another protocol; look at protocol and endpoint",
    501: "the back end does not take this signal; look at endpoint and signals",
}


class HttpSender:
    """Sends to one URL.

    content_type: of the request. extra: further headers. encoding: in which the requests come already; then compression is off.
    """

    def __init__(
        self,
        target: Target,
        *,
        content_type: str = "application/x-protobuf",
        extra: dict[str, str] | None = None,
        encoding: str | None = None,
    ) -> None:
        self._target = target
        self._client: httpx.Client | None = None
        self._answered = False
        self._headers = {
            "user-agent": "milepost",
            **target.headers,
            "content-type": content_type,
            **(extra or {}),
        }
        self._compression = target.compression if encoding is None else "none"
        if encoding is not None:
            self._headers["content-encoding"] = encoding
        elif self._compression != "none":
            self._headers["content-encoding"] = self._compression

    def send(self, request: bytes) -> Answer:
        """POST it."""
        import httpx

        if self._client is None and (why := unusable(self._target)):
            return Answer(outcome="wait", reason=f"{self._target.endpoint}: {why}")
        body = request
        if self._compression == "gzip":
            body = gzip.compress(request, compresslevel=1, mtime=0)  # half the time of level 6, a tenth more bytes
        elif self._compression == "deflate":
            body = zlib.compress(request, level=1)
        try:
            self._client = self._client or self._open()
            response = self._client.post(self._target.url, content=body, headers=self._headers)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            self.close()
            return Answer(outcome="wait", reason=self._trouble(error), doubtful=_is_doubtful(error))
        self._answered = True
        return self._answer(response)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def _open(self) -> "httpx.Client":
        import httpx

        target = self._target
        context: ssl.SSLContext | bool = True
        if target.secure:
            context = ssl.create_default_context(cafile=target.ca_file)
            if target.cert_file:
                context.load_cert_chain(target.cert_file, target.key_file)
        return httpx.Client(verify=context, timeout=target.timeout_s, follow_redirects=False)

    def _answer(self, response: "httpx.Response") -> Answer:
        status, target = response.status_code, self._target
        if 200 <= status < 300:
            return self._accepted(response)
        said = self._said(response)
        told = f"HTTP {status}" + (f": {said}" if said else "")
        if status in RETRYABLE:
            after_s = retry_after_s(response.headers.get("retry-after"))
            return Answer(outcome="wait", reason=f"{target.endpoint} answers {told}", after_s=after_s)
        if status == 413:
            return Answer(outcome="large", reason=told)
        if 300 <= status < 400:
            where = short(response.headers.get("location", "elsewhere"))
            return self._wait(
                f"{told}, a redirect to {where}, which is not followed; set endpoint to where it should go"
            )
        if status == 404 and (once := _without_doubled_path(target)):
            return self._wait(f"{told}; the path is there twice: {once}")
        if status in (404, 405):
            return self._wait(f"{told}; nothing takes data there; look at {target.usual}")
        if status in _SETTINGS:
            return self._wait(f"{told}; {_SETTINGS[status]}")
        if status == 400 and "HTTPS server" in said:
            return self._wait(f"{told}; begin endpoint with https://")
        if is_aged(said):
            return Answer(outcome="aged", reason=told)
        return Answer(outcome="failed" if status >= 500 else "refused", reason=told)

    def _accepted(self, response: "httpx.Response") -> Answer:
        if self._target.protocol != "http/json":
            return partial_success(response.content)
        try:
            told = json.loads(response.content or b"{}").get("partialSuccess") or {}
            rejected = int(told.get("rejectedDataPoints") or told.get("rejectedLogRecords") or 0)
            return Answer(outcome="taken", rejected=rejected, reason=short(str(told.get("errorMessage") or "")))
        except (ValueError, AttributeError, TypeError):
            return Answer(outcome="taken")

    def _wait(self, told: str) -> Answer:
        return Answer(outcome="wait", reason=f"{self._target.endpoint} answers {told}")

    def _said(self, response: "httpx.Response") -> str:
        """What an error says: a google.rpc.Status, or text."""
        kind = response.headers.get("content-type", "")
        try:
            if kind.startswith("application/x-protobuf"):
                message = dict(wire.fields(response.content)).get(2, b"")
                return short(message.decode("utf-8", "replace")) if isinstance(message, bytes) else ""
            if kind.startswith("application/json"):
                told = json.loads(response.content)
                return short(
                    str(told.get("message") or told.get("error") or told) if isinstance(told, dict) else str(told)
                )
        except (wire.Malformed, ValueError):
            pass  # then as it is
        return "" if "<html" in response.text[:500].lower() else short(response.text)

    def _trouble(self, error: Exception) -> str:
        """Why no answer came: endpoint, cause, and the setting where one is to be changed."""
        target = self._target
        said = short(str(error)) or type(error).__name__
        chain = f"{said} {error.__cause__} {error.__context__}"
        if "CERTIFICATE_VERIFY_FAILED" in chain:
            return f"{target.endpoint}: its certificate is not trusted ({_reason(chain)}); set tls: {{ca_file: ...}}"
        if "WRONG_VERSION_NUMBER" in chain or "RECORD_LAYER_FAILURE" in chain:
            return f"{target.endpoint} does not speak TLS ({said}); if that is right, begin endpoint with http://"
        if "CERTIFICATE_REQUIRED" in chain or "certificate required" in chain.lower():
            return f"{target.endpoint} wants a client's certificate; set tls: {{cert_file: ..., key_file: ...}}"
        if re.search("ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_)", chain):
            return f"{target.endpoint} does not trust the client's certificate; look at tls: {{cert_file: ..., key_file: ...}}"
        if type(error).__name__ in ("RemoteProtocolError", "LocalProtocolError"):
            return f"{target.endpoint} does not answer in HTTP ({said}); look at {target.usual}, and TLS wants https://"
        if not target.secure and not self._answered and type(error).__name__ in ("ReadError", "WriteError"):
            return f"{target.endpoint} ends the connection ({said}); if it speaks TLS, begin endpoint with https://"
        return f"{target.endpoint} cannot be reached: {said}"


def retry_after_s(text: str | None) -> float | None:
    """The delay of a Retry-After header, which is a number of seconds or a date; None for neither."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:  # the oldest form of a date, which servers may send: it is in UTC
        when = when.replace(tzinfo=datetime.UTC)
    return max((when - datetime.datetime.now(datetime.UTC)).total_seconds(), 0.0)


def _is_doubtful(error: Exception) -> bool:
    """Whether the request may have arrived: only what failed before it was sent is sure not to."""
    return type(error).__name__ not in (
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "UnsupportedProtocol",
        "InvalidURL",
    )


def _without_doubled_path(target: Target) -> str:
    """What the endpoint should be where a signal's path stands there twice; "" where it does not."""
    if found := re.fullmatch(r"(.*)/v1/(metrics|logs|traces)/+v1/(metrics|logs)", target.endpoint):
        return f"an endpoint for both signals has none, such as {found[1]}"
    if found := re.fullmatch(r"(.*/api/v1/write)/+api/v1/write", target.endpoint):
        return f"set endpoint to {found[1]}"
    return ""


def _reason(chain: str) -> str:
    """Why OpenSSL does not trust a certificate."""
    _, _, rest = chain.partition("certificate verify failed: ")
    return rest.split(" (_ssl", 1)[0] or "certificate verify failed"
