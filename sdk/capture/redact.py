"""Secrets out of what is captured: URL credentials, tokens, passwords and keys become `***`.

Two rules find a secret: its shape (a GitHub token, a JWT, `scheme://user:password@host`) or the name before it
(`--password=...`, `api_key: ...`, a mapping key). `secrets_in(environ)` adds a third: the exact values of variables
with a secret name. This is a net, not a proof; `docs/captured.md` lists what slips through.

Every pattern is linear in the text: runs are entered at their first character only (look-behind) and never given back
(possessive quantifiers), so hostile text cannot make it backtrack.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

HIDDEN = "***"

_MAX_DEPTH = 32  # of nested mappings and lists; what lies deeper (or refers to itself) is hidden whole
_MIN_KNOWN_SECRET = 8  # shorter values ("1", "true", "admin") would blot out ordinary text

# One of these must be in a text, in lower case, for a pattern below to match. Most lines have none, and cost 2 us.
_HINT = re.compile(
    r"://|auth|bearer|basic |key|token|secret|pass|pwd|credential|cookie|sig|akia|asia"
    r"|gh[pousr]_|github_|glpat|hf_|sk-|[sr]k_live|xox|aiza|npm_|pypi-|dckr_|wandb_v|eyj"
)
# The user part of a URL. Its characters leave out "/", so one "://" never scans into the next.
_URL_USER = re.compile(r"([A-Za-z0-9+.-]{0,16}+://)((?:[^\s/?#\"'<>\\@]*+@)++)")
_BEARER = re.compile(r"(?<![A-Za-z0-9])(bearer[ \t]{1,8}+)[A-Za-z0-9._~+/=-]{16,}+", re.IGNORECASE)
_BASIC = re.compile(r"(?<![A-Za-z0-9])(basic[ \t]{1,8}+)([A-Za-z0-9+/_-]{6,}+={0,2}+)", re.IGNORECASE)
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS key ids
    r"|gh[pousr]_[A-Za-z0-9]{30,}+|github_pat_[A-Za-z0-9_]{22,}+|glpat-[A-Za-z0-9_.-]{20,}+"
    r"|hf_[A-Za-z0-9]{30,}+|wandb_v1_[A-Za-z0-9_]{16,}+"
    r"|sk-[A-Za-z0-9_-]{20,}+|[sr]k_live_[A-Za-z0-9]{16,}+"  # OpenAI, Anthropic and kin; Stripe
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}+|AIza[A-Za-z0-9_-]{35}|npm_[A-Za-z0-9]{36,}+"
    r"|pypi-[A-Za-z0-9_-]{50,}+|dckr_pat_[A-Za-z0-9_-]{20,}+"
    r"|eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*+"  # JSON web tokens
    r")"
)
# name=value, name: value, "name": "value" (text, JSON, shell lines, query strings) and --name value, each in two steps:
# the name, then its value if the name is a secret's. One pattern for both would miss the x in "info: password: x".
_NAME = re.compile(
    r"(?<![A-Za-z0-9_.-])(-{0,2}+[A-Za-z_][A-Za-z0-9_.-]*+)(?:[\\\"']{0,4}+[ \t]{0,4}+[:=][ \t]{0,4}+|[ \t]{1,4}+)"
)
_VALUE = re.compile(
    r"(?P<quote>[\"'])(?P<quoted>[^\"'\n]*+)(?P=quote)"
    r"|(?P<open>[\\\"']{0,4}+)(?P<bare>(?:(?:bearer|basic|token|digest)[ \t]{1,4}+)?+[^\s\"',;&<>(){}\[\]]++)",
    re.IGNORECASE,
)
_KEY_BLOCK_BEGIN = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----")
_KEY_BLOCK_END = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")

_SECRET_WORDS = frozenset(
    {"password", "passwords", "passwd", "passphrase", "passcode", "secret", "secrets", "credential", "credentials",
     "authorization", "authentication", "auth", "apikey", "apikeys", "apitoken", "authtoken", "accesskey",
     "secretkey", "privatekey", "accountkey", "cookie", "cookies", "userpwd", "dbpwd"}
)  # fmt: skip
_SECRET_ENDS = ("password", "passwd", "passphrase", "apikey", "secret", "secretkey", "accesskey")  # as in dbpassword
_SECRET_PAIRS = frozenset(
    {"api key", "api keys", "access key", "secret key", "private key", "account key", "admin key", "auth key",
     "encryption key", "signing key", "shared key", "ssh key", "license key", "amz signature", "amz credential"}
)  # fmt: skip
# A name that ends in one of these tells about a secret (where, how long, whether) and holds none.
_ABOUT = frozenset(
    {"file", "files", "path", "dir", "directory", "env", "var", "length", "len", "count", "policy", "expiry", "ttl",
     "type", "url", "uri", "endpoint", "sock", "enabled", "required", "provider", "method", "mode", "size", "timeout"}
)  # fmt: skip
# Words before "token" in the vocabulary of language models: pad_token, eos_token, ...
_TEXT_TOKENS = frozenset(
    {"pad", "eos", "bos", "unk", "sep", "cls", "mask", "special", "additional", "start", "end", "stop", "next",
     "prev", "previous", "image", "video", "audio", "first", "last", "decoder", "encoder", "class", "cache", "prompt",
     "input", "output", "new", "per", "num", "n", "max", "min", "text", "word", "sub", "chat", "turn", "tool",
     "think"}
)  # fmt: skip
_BEFORE_PASS = frozenset(
    {"db", "user", "smtp", "imap", "mail", "email", "mysql", "pg", "postgres", "redis", "ftp", "sftp", "http",
     "proxy", "login", "admin", "root", "ssh"}
)  # fmt: skip


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with what looks like a secret replaced by `***`.

    secrets: exact values to hide besides, as `secrets_in` gives them.
    """
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if _HINT.search(text.lower()) is None:
        return text
    if "-----BEGIN " in text:
        text = _without_key_blocks(text)
    if "://" in text:
        text = _URL_USER.sub(_hide_url_user, text)
    text = _BEARER.sub(rf"\g<1>{HIDDEN}", text)
    text = _BASIC.sub(_hide_basic, text)
    text = _TOKEN.sub(HIDDEN, text)
    return _without_named_values(text)


def redact_mapping(mapping: Mapping[Any, Any], secrets: Sequence[str] = ()) -> dict[Any, Any]:
    """A copy of a nested mapping of settings with every secret hidden.

    A value under a secret name is hidden whole, whatever it holds (numbers under `token` names, None and bools
    excepted); every other text goes through `redact_text`.
    """
    return {key: _redact_value(key, value, secrets, 0) for key, value in mapping.items()}


def redact_argv(argv: Sequence[str], secrets: Sequence[str] = ()) -> list[str]:
    """Command-line arguments with secrets hidden: `--password=X`, `--api-key X`, `x.token=X`, and as `redact_text`."""
    redacted: list[str] = []
    hide_next = False
    for argument in argv:
        if hide_next and not argument.startswith("--"):
            redacted.append(HIDDEN)
            hide_next = False
            continue
        name, equals, value = argument.partition("=")
        is_name = len(name) <= 128 and not any(character.isspace() or character in "{}\"':" for character in name)
        kind = name_kind(name) if is_name else None
        hide_next = kind is not None and not equals and name.startswith("-")
        redacted.append(f"{name}={HIDDEN}" if kind is not None and equals and value else redact_text(argument, secrets))
    return redacted


def secrets_in(environ: Mapping[str, str]) -> list[str]:
    """The values of environment variables with a secret name, longest first: what must not appear in captured text."""
    values = {
        value.strip()
        for name, value in environ.items()
        if len(value.strip()) >= _MIN_KNOWN_SECRET and name_kind(name) is not None and not _is_path(value)
    }
    return sorted(values, key=len, reverse=True)


def _is_path(value: str) -> bool:
    return value.startswith(("/", "~")) and value.count("/") > 1


@lru_cache(maxsize=1024)
def name_kind(name: str) -> Literal["secret", "token"] | None:
    """Whether a name says that its value is secret: "secret" for certain, "token" when it may be one of text too."""
    words = [word.lower() for word in _WORD.findall(name[-200:])]
    if not words or words[-1] in _ABOUT:
        return None
    pairs = {f"{first} {second}" for first, second in pairwise(words)}
    if not _SECRET_WORDS.isdisjoint(words) or not _SECRET_PAIRS.isdisjoint(pairs) or words[-1].endswith(_SECRET_ENDS):
        return "secret"
    before = words[-2] if len(words) > 1 else ""
    if words[-1] == "pass" and before in _BEFORE_PASS:
        return "secret"
    if words[-1] == "pwd" and before not in ("", "old"):  # PWD and OLDPWD are directories
        return "secret"
    if words[-1] == "token" and before not in _TEXT_TOKENS:
        return "token"
    return None


def _redact_value(key: Any, value: Any, secrets: Sequence[str], depth: int) -> Any:
    kind = name_kind(key) if isinstance(key, str) else None
    if value is None or isinstance(value, bool) or value == "":
        return value
    if kind == "secret" or (kind == "token" and not isinstance(value, int | float)):
        return HIDDEN
    if isinstance(value, str):
        return redact_text(value, secrets)
    if depth >= _MAX_DEPTH:
        return HIDDEN if isinstance(value, Mapping | list | tuple | set | frozenset) else value
    if isinstance(value, Mapping):
        return {inner: _redact_value(inner, item, secrets, depth + 1) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_value(None, item, secrets, depth + 1) for item in value]
    return value


def _hide_url_user(match: re.Match[str]) -> str:
    scheme, user = match[1], match[2]
    if ":" not in user and scheme.lower() in ("ssh://", "git+ssh://", "sftp://"):
        return match[0]  # a bare ssh user, "git" as a rule, is no secret
    return f"{scheme}{HIDDEN}@"


def _hide_basic(match: re.Match[str]) -> str:
    """Hide what decodes to `user:password`; leave English such as "basic training"."""
    encoded = match[2].rstrip("=")
    try:
        decoded = base64.b64decode(
            encoded + "=" * (-len(encoded) % 4), altchars=b"-_" if "-" in encoded or "_" in encoded else None
        )
    except (binascii.Error, ValueError):
        return match[0]
    return f"{match[1]}{HIDDEN}" if b":" in decoded else match[0]


def _without_named_values(text: str) -> str:
    parts: list[str] = []
    position = 0
    for match in _NAME.finditer(text):
        if match.start() < position:  # inside a value that is hidden already
            continue
        name, separated_by_space = (match[1], match[0][-1] in " \t" and not match[0].rstrip(" \t").endswith((":", "=")))
        if separated_by_space and not name.startswith("--"):
            continue
        kind = name_kind(name)
        if kind is None and name.lower() in ("sig", "signature"):
            kind = "token"  # of signed URLs
        value = _VALUE.match(text, match.end()) if kind is not None else None
        if value is None or _is_harmless(value["quoted"] or value["bare"] or "", kind):
            continue
        quote = value["quote"] or ""
        parts += [text[position : match.end()], quote or value["open"], HIDDEN, quote]
        position = value.end()
    return "".join([*parts, text[position:]]) if parts else text


def _is_harmless(value: str, kind: Literal["secret", "token"] | None) -> bool:
    if not value or value in ("None", "null", "true", "false", "True", "False"):
        return True
    return kind == "token" and len(value) < 12  # every tokenizer prints "token: the"


def _without_key_blocks(text: str) -> str:
    """Hide `-----BEGIN ... PRIVATE KEY-----` up to its end, or up to the end of the text when it has none."""
    parts: list[str] = []
    position = 0
    while (begin := _KEY_BLOCK_BEGIN.search(text, position)) is not None:
        parts += [text[position : begin.start()], HIDDEN]
        end = _KEY_BLOCK_END.search(text, begin.end())
        if end is None:
            return "".join(parts)
        position = end.end()
    return "".join([*parts, text[position:]])
