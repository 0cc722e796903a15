"""Where a destination leads, as the user's OpenSSH client configuration says it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncssh import SSHClientConnectionOptions

_USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


@dataclass(frozen=True)
class Route:
    """How to reach one destination.

    options: asyncssh's, with the configuration parsed (once: connecting does not read it again).
    jumps: destinations to go through, in order. known_hosts: files that may hold its key.
    name: what the key is recorded under (HostKeyAlias, else HostName).
    """

    options: SSHClientConnectionOptions
    jumps: tuple[str, ...]
    known_hosts: tuple[Path, ...]
    name: str
    identity_files: tuple[str, ...]


def config_paths(path: str | Path | None = None) -> list[str]:
    """The configuration files to read: the one given, else $CUTOVER_SSH_CONFIG, else the user's own."""
    chosen = path or os.environ.get("CUTOVER_SSH_CONFIG")
    if chosen:
        return [str(Path(chosen).expanduser())]
    default = Path("~/.ssh/config").expanduser()
    return [str(default)] if os.access(default, os.R_OK) else []


def find_route(destination: str, paths: Sequence[str]) -> Route:
    """Resolve `[user@]name[:port]`. Raises ValueError naming file and line, or OSError for a file not to be read."""
    user, _, name = destination.rpartition("@")
    name, port = _split_port(name)
    given: dict[str, object] = {}
    if user:
        given["username"] = user
    if port is not None:
        given["port"] = port
    options = SSHClientConnectionOptions(
        config=list(paths) or None, host=name, known_hosts=b"", client_keys=None, agent_path=None, **given
    )
    config = options.config
    if not (options.canonicalize_hostname or config.has_match_final()):
        # What is parsed is kept; only these two forms have to read the files a second time.
        options.kwargs["config"] = ()
    jump = options.tunnel if isinstance(options.tunnel, str) else ""
    user_files = config.get("UserKnownHostsFile", _USER_KNOWN_HOSTS)
    global_files = config.get("GlobalKnownHostsFile", _GLOBAL_KNOWN_HOSTS)
    return Route(
        options=options,
        jumps=tuple(part.strip() for part in jump.split(",") if part.strip()),
        # "none" is an empty list: no file, so no key is known and nothing is trusted.
        known_hosts=tuple(Path(str(file)).expanduser() for file in [*_words(user_files), *_words(global_files)]),
        name=options.host_key_alias or options.host,
        identity_files=tuple(str(file) for file in _words(config.get("IdentityFile", ()))),
    )


def _words(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _split_port(name: str) -> tuple[str, int | None]:
    if name.startswith("["):
        host, _, rest = name[1:].partition("]")
        return host, _port(rest[1:]) if rest.startswith(":") else None
    host, colon, port = name.partition(":")
    return (host, _port(port)) if colon and ":" not in port else (name, None)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"{text!r} is not a port")
    return int(text)
