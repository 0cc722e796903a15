"""Positions in Postgres' write-ahead log, and how far apart they are."""

import re

_LSN = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})")


def parse_lsn(text: str | None) -> int | None:
    """The position that `0/314D688` means, in bytes; None for what is no position."""
    match = _LSN.fullmatch(text or "")
    return (int(match[1], 16) << 32) + int(match[2], 16) if match else None


def show_lsn(position: int) -> str:
    """A position as Postgres writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
