"""The secrets of a runbook: read from where it says, filled in at the last moment, scrubbed from what comes back."""

import asyncio
import json
import os
import re
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote as url_quote
from urllib.parse import quote_plus

from cutover.errors import SecretUnavailable
from cutover.model.effects import CommandReply, Reply, Sealed
from cutover.model.runbook import SecretSource

_COMMAND_SECONDS = 60.0
# Shorter pieces occur by chance: they are scrubbed only as they are.
_SHORT = 5
_NOTHING = re.compile(rb"(?!)")


class Secrets:
    """The values by name. Holds them in memory only; has no repr that could show them."""

    def __init__(self, sources: Mapping[str, SecretSource] | None = None) -> None:
        self._sources = dict(sources or {})
        self._values: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._forms: dict[bytes, bytes] = {}
        self._pattern = _NOTHING
        self._longest = 0

    async def load(self) -> dict[str, str]:
        """Read every value not known yet, so that it is scrubbed from the first reply on. Returns name -> problem."""
        problems = {}
        for name in self._sources:
            try:
                await self.value(name)
            except SecretUnavailable as problem:
                problems[name] = str(problem)
        return problems

    async def value(self, name: str) -> str:
        """The secret's value, read once. Raises SecretUnavailable, which never holds a value."""
        async with self._lock:
            if name not in self._values:
                if name not in self._sources:
                    raise SecretUnavailable(f"the runbook has no secret named {name!r}")
                self._learn(name, await asyncio.to_thread(_read, name, self._sources[name]))
            return self._values[name]

    async def unseal(self, text: Sealed) -> str:
        """Sealed text with the values in it. Raises SecretUnavailable."""
        return "".join([piece if isinstance(piece, str) else await self.value(piece.secret) for piece in text])

    def scrub(self, data: bytes) -> bytes:
        """`data` with every form of every known value replaced by `${secret:NAME}`."""
        return self._pattern.sub(lambda match: self._forms[match[0]], data) if self._forms else data

    def scrub_stream(self, data: bytes) -> tuple[bytes, bytes]:
        """The scrubbed beginning of `data`, and the end to be held back as a value may go on in the next chunk."""
        cut = len(data) - self._begun(data)
        for match in self._pattern.finditer(data):
            if match.start() < cut < match.end():
                cut = match.end()
        return self.scrub(data[:cut]), data[cut:]

    def scrub_reply(self, reply: Reply) -> Reply:
        """The reply with every value scrubbed from its bytes and texts."""
        if not self._forms:
            return reply
        return replace(
            reply,
            detail=self.scrub(reply.detail.encode()).decode(),
            commands=tuple(self._scrub_command(command) for command in reply.commands),
            rows=tuple(self._scrub_rows(row) for row in reply.rows),
            headers=tuple((name, self.scrub(value.encode()).decode()) for name, value in reply.headers),
            body=self._scrub_cut(reply.body, True),
        )

    def _scrub_rows(self, value: Any) -> Any:
        """JSON-ready data with every text scrubbed."""
        match value:
            case str():
                return self.scrub(value.encode()).decode()
            case dict():
                return {name: self._scrub_rows(each) for name, each in value.items()}
            case list():
                return [self._scrub_rows(each) for each in value]
        return value

    def _scrub_command(self, command: CommandReply) -> CommandReply:
        return replace(
            command,
            stdout=self._scrub_cut(command.stdout, command.stdout_cut),
            stderr=self._scrub_cut(command.stderr, command.stderr_cut),
        )

    def _scrub_cut(self, data: bytes, cut: bool) -> bytes:
        """Where output was cut at its cap, a value may be cut too: its beginning at the end goes as well."""
        data = self.scrub(data)
        return data[: len(data) - begun] if cut and (begun := self._begun(data)) >= _SHORT else data

    def _begun(self, data: bytes) -> int:
        """How many bytes at the end of `data` may be the beginning of a value."""
        for size in range(min(self._longest - 1, len(data)), 0, -1):
            if any(form.startswith(data[-size:]) for form in self._forms):
                return size
        return 0

    def _learn(self, name: str, value: str) -> None:
        self._values[name] = value
        shown = f"${{secret:{name}}}".encode()
        for form in _forms(value.encode()):
            self._forms.setdefault(form, shown)
        ordered = sorted(self._forms, key=len, reverse=True)
        self._longest = len(ordered[0]) if ordered else 0
        self._pattern = re.compile(b"|".join(map(re.escape, ordered))) if ordered else _NOTHING


def _forms(value: bytes) -> Iterator[bytes]:
    """What a value may look like in output: as it is, for a URL, in JSON, in base64 at any alignment, line by line."""
    text = value.decode()
    if value:
        yield value
    if len(value) < _SHORT:
        return
    yield from (form.encode() for form in (url_quote(text, safe=""), url_quote(text), quote_plus(text)))
    yield from (json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode() for ascii_only in (True, False))
    for shift in range(3):
        # Characters that the value alone decides: not those it shares with its neighbours.
        first, last = -(-8 * shift // 6), 8 * (shift + len(value)) // 6
        encoded = b64encode(bytes(shift) + value)[first:last]
        yield encoded
        yield encoded.translate(bytes.maketrans(b"+/", b"-_"))
    lines = value.splitlines()
    yield from (line for line in lines if len(lines) > 1 and len(line) >= 2 * _SHORT)


def _read(name: str, source: SecretSource) -> str:
    """Read one secret. Raises SecretUnavailable with the place it was looked for, never with what was found."""
    if source.env is not None:
        if source.env not in os.environ:
            raise SecretUnavailable(f"secret {name}: the environment variable {source.env} is not set")
        return os.environ[source.env]
    try:
        if source.file is not None:
            data = Path(source.file).expanduser().read_bytes()
        else:
            argv = list(source.command or ())
            done = subprocess.run(  # its stderr stays out of every message: it may quote the value
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_SECONDS, check=False
            )
            if done.returncode:
                raise SecretUnavailable(f"secret {name}: {argv[0]} ended with exit {done.returncode}")
            data = done.stdout
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise SecretUnavailable(f"secret {name}: the value is not UTF-8 text") from None
    except (OSError, subprocess.TimeoutExpired) as problem:
        where = source.file or (source.command or ("",))[0]
        reason = problem.strerror if isinstance(problem, OSError) else f"no answer in {_COMMAND_SECONDS:g} s"
        raise SecretUnavailable(f"secret {name}: {where}: {reason}") from None
