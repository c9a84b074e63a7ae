# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports of an NFS server: what the exports files say, whom each entry serves, and what is missing.

Nothing here reads a file or asks a name service. How exportfs reads its files, and which entry it gives to a client,
was tried with the exportfs of nfs-utils 2.6.2, which goes beyond exports(5) in places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ansible_collections.ascend.gpustack.plugins.module_utils.nfs.clients import ACCESS, Client

HEADER = "# Managed by ascend.gpustack (role nfs_server); changes are overwritten.\n"
NOBODY = 65534
_BEFORE_PATH = re.compile(r"(?:[ \t\n\0]|\\\n[ \t]*|#[^\n]*)*")
# A comment ends with its line: a backslash does not continue it.
_BEFORE_CLIENT = re.compile(r"(?:[ \t]|\\\n[ \t]*)*(?:#[^\n]*)?")
_TOKEN = re.compile(r'(?:[^\s"\\]|\\(?!\n)|"[^"]*(?:"|\Z))*', re.ASCII)
_AFTER_TOKEN = re.compile(r"(?:\\\n[ \t]*|[ \t\r\f\v])?")
_CONTINUATION = re.compile(r"\\\n[ \t]*")
_OCTAL = re.compile(r"\\[0-3][0-7]{2}")
_LONGEST_PATH = 1024
_LONGEST_CLIENT = 511
_LONGEST_TEXT = 1000


@dataclass(frozen=True)
class Access:
    read_only: bool = True
    root_squash: bool = True
    all_squash: bool = False


@dataclass(frozen=True)
class Options:
    """Options of an entry, as far as they matter here, with exportfs's defaults.

    access holds for the clients without Kerberos; None when sec= leaves them out. mountpoint is about the exported path
    itself: mountpoint=/other is not meant. crossmnt: clients see the file systems below, too; nohide: those see this one who mount the
    one above.
    """

    common: Access = Access()
    sys: Access | None = None
    flavored: bool = False
    asynchronous: bool = False
    anonuid: int = NOBODY
    mountpoint: bool = False
    crossmnt: bool = False
    nohide: bool = False

    @property
    def access(self) -> Access | None:
        return self.sys if self.flavored else self.common

    def __str__(self) -> str:
        access = self.access or self.common
        words = ["ro" if access.read_only else "rw", "async" if self.asynchronous else "sync"]
        words.append("root_squash" if access.root_squash else "no_root_squash")
        words += ["all_squash"] if access.all_squash else []
        words += [f"anonuid={self.anonuid}"] if self.anonuid != NOBODY else []
        words += ["mountpoint"] if self.mountpoint else []
        words += ["sec= without sys"] if self.access is None else []
        return ",".join(words)


@dataclass(frozen=True)
class Entry:
    """One client of one path. text is the client with its options, unquoted; hint says what may have been meant."""

    path: str
    host: str
    options: Options
    file: str
    line: int
    text: str
    hint: str = ""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Table:
    """stopped says where and why exportfs reads no further."""

    entries: list[Entry]
    stopped: str | None = None


def with_options(options: Options, text: str) -> Options:
    """options changed by a list such as rw,sync. Words that are not known here change nothing: exportfs has more of
    them with every version, and refuses itself what it doesn't know."""
    active = False
    for word in text.split(","):
        word = word.lstrip(" \t")
        name, _sign, value = word.partition("=")
        if word in ACCESS:
            # After sec= a word holds for what sec= names, too; before it, not for what an earlier one named.
            options = replace(options, common=replace(options.common, **ACCESS[word]))
            if active and options.sys:
                options = replace(options, sys=replace(options.sys, **ACCESS[word]))
        elif word in ("sync", "async"):
            options = replace(options, asynchronous=word == "async")
        elif word == "crossmnt":
            options = replace(options, crossmnt=True)
        elif word in ("hide", "nohide"):
            options = replace(options, nohide=word == "nohide")
        elif name in ("mountpoint", "mp"):
            options = replace(options, mountpoint=not value)
        elif name == "anonuid" and re.fullmatch("-?[0-9]{1,10}", value):
            options = replace(options, anonuid=int(value))
        elif name == "sec":
            active = bool({"sys", "unix"} & set(value.split(":")))
            first = active and options.sys is None
            options = replace(options, flavored=True, sys=options.common if first else options.sys)
    return options


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.line = 1
        self._at = 0

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self._at)
        text = found.group() if found else ""
        self.line += text.count("\n")
        self._at += len(text)
        return text

    def next(self, before: re.Pattern[str]) -> tuple[str, int]:
        """A token, unquoted, with its line; an empty one where exportfs sees the end of the line, or at a path, of the file."""
        self._match(before)
        line = self.line
        token = _unquoted(self._match(_TOKEN))
        self._match(_AFTER_TOKEN)
        return token, line

    def ended(self) -> bool:
        return self._at >= len(self.text)


def _unquoted(raw: str) -> str:
    letters: list[str] = []
    for letter in _CONTINUATION.sub(" ", raw).replace('"', ""):
        letters.append(letter)
        if _OCTAL.fullmatch("".join(letters[-4:])):
            letters[-4:] = [chr(int("".join(letters[-3:]), 8))]
    return "".join(letters)


def parse(data: bytes, file: str) -> Table:
    """The entries of an exports file, or of exportfs's own table (etab)."""
    reader = _Reader(data.decode("latin-1"))
    entries: list[Entry] = []
    while True:
        path, line = reader.next(_BEFORE_PATH)
        if not path:
            return Table(entries, None if reader.ended() else f"{file}:{line}: no path, but a carriage return or the like")
        if len(path) > _LONGEST_PATH:
            return Table(entries, f"{file}:{line}: a path of more than {_LONGEST_PATH} bytes")
        found, stopped = _line(reader, _text(path), file)
        entries += found
        if stopped:
            return Table(entries, stopped)


def _line(reader: _Reader, path: str, file: str) -> tuple[list[Entry], str | None]:
    entries: list[Entry] = []
    defaults = Options()
    while True:
        token, line = reader.next(_BEFORE_CLIENT)
        if not token and entries:
            return _hinted(entries), None
        if token.startswith("-"):
            defaults = with_options(defaults, token[1:])
            token, line = reader.next(_BEFORE_CLIENT)
        host, bracket, options = token.partition("(")
        if len(token) > _LONGEST_CLIENT or (bracket and not re.fullmatch(r"[^)]*\)", options)):
            return _hinted(entries), f"{file}:{line}: {_text(token)[:60]!r} is no client(options)"
        host = "*" if token.startswith("(") else _text(host)
        entries.append(Entry(path, host, with_options(defaults, options[:-1]), file, line, _text(token)))


def _hinted(entries: list[Entry]) -> list[Entry]:
    for number in range(1, len(entries)):
        before, entry = entries[number - 1], entries[number]
        if entry.text.startswith("(") and "(" not in before.text and before.host:
            hint = f" (The blank between {before.host} and {entry.text} makes {entry.text} an entry for every host.)"
            entries[number - 1 : number + 1] = [replace(before, hint=hint), replace(entry, hint=hint)]
    return entries


def _text(token: str) -> str:
    # To exportfs a zero byte ends a text.
    return token.split("\0")[0].encode("latin-1").decode("utf-8", "replace")


def own_options(writable: bool, squash: str, mountpoint: bool) -> str:
    words = ["rw", "sync", squash] if writable else ["ro", "sync", "root_squash"]
    return ",".join([*words, "no_subtree_check", *(["mountpoint"] if mountpoint else [])])


def render(path: str, clients: Sequence[Client], squash: str, mountpoint: bool) -> str | None:
    """The text of the collection's file; None without clients."""
    if not clients:
        return None
    escaped = re.sub(r'[\s"#\\]', lambda match: f"\\{ord(match.group()):03o}", path, flags=re.ASCII)
    granted = [f"{client.text}({own_options(client.writable, squash, mountpoint)})" for client in clients]
    return f"{HEADER}{' '.join([escaped, *granted])}\n"


def messages_about(stderr: str, paths: Iterable[str]) -> list[str]:
    """The lines of exportfs that name one of the paths, and not merely one that begins or ends like it."""
    pattern = "|".join(rf"(?<![\w/.-]){re.escape(path)}(?![\w/-]|\.\w)" for path in paths)
    lines = [re.sub(r"^exportfs:\s*", "", line).strip() for line in stderr.splitlines()]
    return [line for line in dict.fromkeys(lines) if re.search(pattern, line)]


def refusals(stderr: str, paths: Sequence[str]) -> list[str]:
    """Those lines by which exportfs says that a path can't be exported, although its table has it."""
    endings = " (?:does not support|requires fsid=) |Failed to stat | is not a directory"
    return [line for line in messages_about(stderr, paths) if re.search(endings, line)]


def complaints(stderr: str) -> str:
    """All that exportfs says, on one line, without its remarks on what an entry leaves to the defaults."""
    lines = [re.sub(r"^exportfs:\s*", "", line).strip() for line in stderr.splitlines()]
    remarks = r"'subtree_check'|Assuming default behaviour|NOTE: this default|No (?:options|host name) "
    said = "; ".join(line for line in dict.fromkeys(lines) if line and not re.search(remarks, line))
    return said.replace(":; ", ": ").rstrip(".")[:_LONGEST_TEXT]
