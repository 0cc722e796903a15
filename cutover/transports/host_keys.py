"""Which host keys are trusted: the pinned ones, else those the user's known_hosts files hold for that very name.

Never on first use. A key recorded for an address is not taken for a name: moves use addresses again.
"""

import contextlib
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import asyncssh

KnownHosts = asyncssh.SSHKnownHosts
# Asked for beside the types of the trusted keys: only a key that was seen can be named as unknown or changed.
_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@cache
def _lines(path: Path, _changed: int) -> str:
    return path.read_text(errors="surrogateescape")


class HostKeys(asyncssh.SSHClient):
    """The trust in one host. Serves asyncssh as the connection's client, so that it sees the key that was offered."""

    def __init__(self, host: str, name: str, pinned: Sequence[str], files: Sequence[Path]) -> None:
        self._host = host
        self._name = name
        self._pinned = [asyncssh.import_public_key(line) for line in pinned]
        self._files = files
        self._trusted: list[asyncssh.SSHKey] = []
        self._offered: asyncssh.SSHKey | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Asks for acknowledgements at once: a delayed one holds up a connection's first command by 40 ms."""
        connected = conn.get_extra_info("socket")
        if connected is not None and hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def types(self) -> str | list[str]:
        """The algorithms to ask for, those of the trusted keys first: a list where they are pinned, else as `+LIST`."""
        if not self._pinned:
            return f"+{','.join(_TYPES)}"
        return [*(algorithm.decode() for key in self._pinned for algorithm in key.sig_algorithms), *_TYPES]

    def known(self, name: str, _address: str, port: int | None) -> Any:
        """What asyncssh calls to learn the trusted keys of the host. Raises ValueError for a bad known_hosts line."""
        if self._pinned:
            self._trusted = self._pinned
            return self._pinned, [], [], [], [], [], []
        found = _known_hosts(tuple(self._files)).match(name, "", port)
        self._trusted = list(found[0])
        return found

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        """Called for a key that is not trusted: remembers it for the sentence, and never trusts it."""
        self._offered = key
        return False

    def refusal(self, problem: Exception) -> str:
        """The sentence for a person when the key was refused: changed or unknown, its fingerprint, the way out."""
        where = "the pins" if self._pinned else "known_hosts"
        known = ", ".join(_fingerprint(key) for key in self._trusted)
        offered = _fingerprint(self._offered) if self._offered else f"another ({problem})"
        if self._trusted:
            return (
                f"the host key of {self._host} CHANGED: it offers {offered}, {where} say {known}. Either this is "
                f"another machine, or it was installed anew: compare with `ssh-keygen -lf` on its console, then "
                + ("run `cutover pin` and review the change" if self._pinned else f"`ssh-keygen -R {self._name}`")
            )
        return (
            f"the host key of {self._host} is unknown: it offers {offered}, and {where} hold no key for the name "
            f"{self._name}. Compare it with `ssh-keygen -lf` on the host's console, then add it to known_hosts "
            "or pin it; it is never trusted on first use"
        )


def _fingerprint(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def _known_hosts(files: tuple[Path, ...]) -> KnownHosts:
    """The files as one list, parsed once as long as none changes."""
    return _parsed(tuple((file, file.stat().st_mtime_ns) for file in files if file.is_file()))


@cache
def _parsed(files: tuple[tuple[Path, int], ...]) -> KnownHosts:
    known = KnownHosts()
    for file, changed in files:
        try:
            known.load(_lines(file, changed))
        except ValueError as problem:
            raise ValueError(f"{file}: {problem}") from None
    return known
