# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a secret, and how it is hidden. Whatever is printed, written into a diff or handed on as a message comes through here.

text() takes what nobody knows the parts of: sentences, logs, errors. Who knows more says so, and less is left to guess: value() takes
a setting by its name, variable() one of the environment, command() the words of a command line, data() all that JSON can hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

HIDDEN = "***"
# What a container's environment may show: variables that hold no secret, whatever their value. docs/en/security.md has the same list. An
# address among them is shown without who logs in there. A name that ends in * stands for all that begin so and do not look secret.
HARMLESS = (
    *("TZ", "LANG", "LANGUAGE", "LC_*", "PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONUNBUFFERED", "OMP_NUM_THREADS"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("ASCEND_*", "HCCL_*", "ATB_*", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "PYTORCH_NPU_ALLOC_CONF", "TASK_QUEUE_ENABLE"),
    *("CPU_AFFINITY_CONF", "MAX_TOKENS", "MAX_MODEL_LEN", "TOKENIZERS_PARALLELISM", "TRANSFORMERS_OFFLINE"),
    *("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "HF_HUB_ENABLE_HF_TRANSFER"),
    *("MODELSCOPE_CACHE", "MODELSCOPE_DOMAIN", "VLLM_LOGGING_LEVEL", "VLLM_NO_USAGE_STATS", "VLLM_PLUGINS"),
    *("VLLM_USE_MODELSCOPE", "VLLM_USE_V1", "VLLM_WORKER_MULTIPROC_METHOD", "VLLM_ASCEND_*"),
    *("GPUSTACK_CACHE_DIR", "GPUSTACK_DATA_DIR", "GPUSTACK_DEBUG", "GPUSTACK_HOST", "GPUSTACK_PORT", "GPUSTACK_SERVER_URL"),
    *("GPUSTACK_WORKER_IP", "GPUSTACK_WORKER_NAME", "GPUSTACK_WORKER_PORT"),
)
_SECRET_NAME = re.compile(
    r"token|passw|passphrase|passcode|passkey|secret|credential|private|authorization|bearer|cookie|jwt"
    r"|(?:\A|[^a-z])(?:pass|pwd|pw|auth|creds?|dsn|key)\d*\Z|[a-z](?:pass|pwd)\d*\Z"
    r"|(?:api|access|ssh|account|encryption|signing|master)[_-]?keys?\d*\Z"
    r"|(?:\A|_)(?:database|db|redis|mongodb|postgres|broker)_ur[il]\Z|connection_string"
)
# Names that have such a word in them and hold none: counts, paths, switches, and what only sounds alike
_PLAIN_NAME = re.compile(
    r"tokeniz|(?:\A|[_-])(?:max|min|num|batched|cached|new|prompt|completion|special|speculative|total)(?:[_-][a-z]+)*[_-]tokens?\Z"
    r"|tokens?[_-](?:threshold|limit|count|budget|ids|details|only|per)|\A(?:old)?pwd\Z|bypass\Z|compass\Z"
    r"|[_-](?:file|files|path|dir|stdin)\Z|\Aask[_-](?:[a-z]+[_-])?pass\Z|\Aallow[_-]credentials\Z|registry[_-]auth\Z|\Asyslog[_-]tls[_-]key\Z"
)
_SWITCH = frozenset(("", "true", "false", "yes", "no", "null", "none", HIDDEN))
# The name of a variable in place of a secret
_TEMPLATE = re.compile(r"[\"']?\{\{ \w+ \}\}")
# A word as a shell or a log has it. A quote ends it only where JSON, or the sentence, goes on.
_REST = r"(?:[^\s\"']|[\"'](?![,\]}:\s)]|\Z))"
_WORD = re.compile(rf"(?:\"(?:\\.|[^\"\\])*\"|'[^']*')(?:(?![,;:)\]}}]){_REST})*|{_REST}*")
_JSON = re.compile(
    r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\\\".*?\\\"|\[[^\]]*\]|\{[^}]*\}|[^\s,}\]\"']+|[\[{\"'].*\Z|",
    re.DOTALL,
)
_PEM = re.compile(
    r"-----BEGIN [^-\n]*-----.*?(?:-----END [^-\n]*-----|\Z)|(?<![\w+/=])(?:[A-Za-z0-9+/=]{16,}\s+)*-----END [^-\n]*-----", re.DOTALL
)
_URL_USER = re.compile(rf"://((?:(?!://){_REST})*)@(?!sha256:)")
_LOGIN = re.compile(r"(?<![^\s=\"',])[^\s:/@=\"']{1,128}:[^\s/@]{1,256}@(?!sha256:)(?=[\w\[])")
_HEADER = re.compile(
    r"(?<![\w-])((?:proxy-)?authorization|x-[\w-]*(?:key|token|auth)|(?:set-)?cookie)([\"']?\s*:\s*[\"']?)[^\n\"']+", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer|basic)\s+(?=\S{0,32}[\d=])[\w.~+/-]{8,}=*", re.IGNORECASE)
# Of GPUStack, Docker Swarm, Hugging Face, GitHub and OpenAI, and JSON Web Tokens, by their looks
_KNOWN = re.compile(
    r"(?<![\w-])(?:gpustack_[0-9a-f]{16}_[0-9a-f]{32}|SWMTKN-1-[\w-]+|hf_[A-Za-z0-9]{20,}|gh[pousr]_\w{20,}|sk-[\w-]{20,}"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)"
)
# What comes before a value, and how the value is read. The last one is for logs, where a value has to look like one: words of a sentence
# have no digits, and are shorter.
_NAMED = (
    (re.compile(r"(?P<mark>\\?[\"'])(?P<name>[\w .-]{1,100})(?P=mark)\s*:\s*"), _JSON),
    (re.compile(r"^[ \t]*(?:- )?(?P<name>[\w.-]+):[ \t]+(?=(?:\"[^\"\n]*\"|'[^'\n]*'|\S+)[ \t]*$)", re.MULTILINE), _WORD),
    (re.compile(r"(?<![\w-])--(?P<name>[A-Za-z][\w.-]*)(?:=|\s+(?!--))"), _WORD),
    (re.compile(r"(?<![\w.-])-*(?P<name>[A-Za-z_][\w.-]*)="), _WORD),
    (
        re.compile(
            r"(?<![\w-])(?P<name>[\w-]*(?:passw(?:or)?d|passphrase|token|secret|api[-_]?key)):\s*(?=\S{0,32}\d|\S{16})", re.IGNORECASE
        ),
        _WORD,
    ),
)
_SHORT = re.compile(rf"(?<![\w-])-t(=|\s+(?!--)|)({_WORD.pattern})")
# Programs whose -t is no token
_OTHERS_T = re.compile(r"\b(?:npu-smi|mount|iptables|ssh|stat)\b[^;|&\n]*\Z")


def looks_secret(name: str) -> bool:
    """Whether what has this name (of a setting, a variable, an option) is a secret."""
    forms = (name.lower(), re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return not _PLAIN_NAME.search(forms[0]) and any(map(_SECRET_NAME.search, forms))


def is_harmless(name: str) -> bool:
    """Whether a variable of the environment may be shown with its value."""
    return name in HARMLESS or (not looks_secret(name) and any(name.startswith(known[:-1]) for known in HARMLESS if known.endswith("*")))


def text(text: str, known: Iterable[str] = ()) -> str:
    """Any text without the secrets that can be told in it. known: others that it may hold."""
    for secret in sorted({each for each in known if each}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    of_json = _json(text)
    if of_json is not None:
        return of_json
    text = _PEM.sub(HIDDEN, text) if "-----END" in text or "-----BEGIN" in text else text
    text = _HEADER.sub(rf"\1\2{HIDDEN}", text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    text = _URL_USER.sub(lambda match: f"://{HIDDEN}@" if _logs_in(match.group(1)) else match.group(), text)
    text = _LOGIN.sub(f"{HIDDEN}@", text)
    text = _KNOWN.sub(HIDDEN, text)
    for lead, given in _NAMED:
        text = _without_named(text, lead, given)
    return _SHORT.sub(_token, text)


def _json(text: str) -> str | None:
    """An object or a list on one line, in its form unless something in it is hidden; None for any other text."""
    if text[:1] not in ("{", "[") or "\n" in text:
        return None
    try:
        parsed = json.loads(text)
        hidden = data(parsed)
    except (ValueError, RecursionError):
        return None
    return text if hidden == parsed else json.dumps(hidden, ensure_ascii=text.isascii())


def _logs_in(before: str) -> bool:
    """Whether what stands before the @ of an address is a user: a password may have a / in it, and a path an @."""
    host = before.partition("/")[0]
    return "/" not in before or ":" in host or "@" in host


def _without_named(text: str, lead: re.Pattern, given: re.Pattern) -> str:
    """The text without the values that follow a secret's name. What follows another name is looked into: --log-opt=splunk-token=…"""
    parts, position = [], 0
    for match in lead.finditer(text):
        if match.start() < position or not looks_secret(match["name"]) or _TEMPLATE.match(text, match.end()):
            continue
        found = given.match(text, match.end())
        value = found.group() if found else ""
        if value.strip("\\\"',;:)]}").lower() in _SWITCH:
            continue
        mark = match.groupdict().get("mark", "")
        parts += [text[position : match.end()], mark, HIDDEN, mark]
        position = match.end() + len(value)
    return "".join([*parts, text[position:]])


def _token(match: re.Match) -> str:
    before, (between, given) = match.string[max(0, match.start() - 200) : match.start()], match.groups()
    # Elsewhere it may be another option, -ti or -timeout.
    other = not between and before and "gpustack start" not in before and not re.match(r"(?=\S{0,32}[A-Z0-9])\S{6}", given)
    return match.group() if not given or other or _OTHERS_T.search(before) else f"-t{between}{HIDDEN}"


def _hides(name: str, given: Any) -> bool:
    # A switch is no secret, whatever its name.
    return looks_secret(name) and given is not None and not isinstance(given, bool)


def value(name: str, given: Any) -> str:
    """A setting's value as it may be shown; "" is the name of what has none."""
    if _hides(name, given):
        return HIDDEN
    return text(given) if isinstance(given, str) else json.dumps(data(given), sort_keys=True)


def variable(name: str, given: str) -> str:
    """The value of a variable of the environment as it may be shown: only harmless ones are."""
    if not is_harmless(name):
        return HIDDEN
    # An address, or what is no secret with an @ in it: a password may hold any other sign.
    before, at, after = given.rpartition("@")
    scheme = re.match(r"\w+://", before)
    return text(f"{scheme.group() if scheme else ''}{HIDDEN}@{after}" if at else given)


def environment(given: Mapping[str, str]) -> dict[str, str]:
    return {name: variable(name, each) for name, each in given.items()}


def command(words: Sequence[str]) -> list[str]:
    """The words of a command line, of which one may tell that the next is a secret."""
    return [shown for shown, _secret in _words(words)]


def _words(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each word as it may be shown, and what is secret in it; empty where nothing is."""
    others_t = any(_OTHERS_T.search(word) for word in words)
    announced = False
    for word in words:
        if announced and not word.startswith("--"):
            announced = False
            yield HIDDEN, word
            continue
        option, equals, given = word.partition("=")
        short = word.startswith("-t") and not others_t
        secret = short or bool(re.match(r"--[A-Za-z][\w.-]*\Z", option) and looks_secret(option[2:]))
        announced = secret and not equals and (not short or word == "-t")
        if secret and equals:
            yield f"{'-t' if short else option}={HIDDEN}", given
        elif short and not announced:
            yield f"-t{HIDDEN}", word[2:]
        elif re.match(r"[A-Za-z_][\w.-]*\Z", option) and equals:
            yield f"{option}={value(option, given)}", given if looks_secret(option) else ""
        else:
            yield (word if announced else text(word)), ""


def data(given: Any) -> Any:
    """What JSON can hold, with the secrets in it hidden. A list of texts is taken for a command line."""
    if isinstance(given, Mapping):
        return {key: HIDDEN if _hides(str(key), each) else data(each) for key, each in given.items()}
    if isinstance(given, (list, tuple)):
        return command(given) if all(isinstance(each, str) for each in given) else [data(each) for each in given]
    return text(given) if isinstance(given, str) else given


def secrets_in(given: Any, secret: bool = False) -> set[str]:
    """The texts that data() hides as a whole, and who logs in in the addresses of the others."""
    if isinstance(given, Mapping):
        return {text for key, each in given.items() for text in secrets_in(each, secret or looks_secret(str(key)))}
    if isinstance(given, (list, tuple)) and not secret and all(isinstance(each, str) for each in given):
        return {hidden for _shown, hidden in _words(given) if hidden}.union(*(secrets_in(each) for each in given))
    if isinstance(given, (list, tuple)):
        return {text for each in given for text in secrets_in(each, secret)}
    if not isinstance(given, str) or not given:
        return set()
    return {given} if secret else {login for login in _URL_USER.findall(given) if _logs_in(login) and (":" in login or len(login) > 11)}


def secrets_of(words: Sequence[str], variables: Mapping[str, str]) -> set[str]:
    """Secrets in a command line and an environment that must not be printed, wherever they turn up."""
    return telling(secrets_in(words) | secrets_in(variables))


def telling(secrets: Iterable[str]) -> set[str]:
    # Short ones are words of the language too, and would tear holes into every text.
    return {each for each in secrets if len(each) >= 6}


def fingerprint(secret: str, salt: str) -> str:
    """Changes when the secret does, and does not tell it. Slow, so that a short one is not found by trying all; salted, so that no list
    made elsewhere serves. The salt says what the secret is of, and is no secret: another run has to come to the same."""
    return "pbkdf2:" + hashlib.pbkdf2_hmac("sha256", secret.encode(), salt.encode(), 20_000, 16).hex()
