"""The wire between a running engine and its clients: JSON lines over a Unix socket. Described in docs/protocol.md.

Both ends use this module; later verbs are added here, never a second channel.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROTOCOL = 1
MAX_LINE = 1 << 20
# sun_path holds 108 bytes on Linux and 104 on a Mac, with the final NUL.
_LONGEST_ADDRESS = 100

Message = dict[str, Any]


def pack(message: Message) -> bytes:
    """One message as one line."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def unpack(line: bytes) -> Message:
    """The inverse of `pack`. Raises ValueError on anything but one JSON object."""
    try:
        message = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("a message is one JSON object on one line")
    return message


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """The socket's address, also where the path is longer than a socket's name may be (Linux: through its folder)."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
