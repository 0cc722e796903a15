"""The one choke point through which words become shell text: nothing else in cutover writes quotes."""

import re
from collections.abc import Iterable

_PLAIN = re.compile(rb"[A-Za-z0-9_@%+:,./-]+")


def quote(word: str) -> bytes:
    """`word` as one word for a POSIX shell, byte-identical after the shell has read it.

    Raises ValueError for what no argv can hold: a NUL byte, or a lone surrogate, which has no UTF-8.
    """
    data = word.encode()
    if b"\0" in data:
        raise ValueError("a word for a remote command cannot hold a NUL byte")
    if _PLAIN.fullmatch(data):
        return data
    return b"'" + data.replace(b"'", b"'\\''") + b"'"


def quote_words(words: Iterable[str]) -> bytes:
    """Words with spaces between them. Raises ValueError as `quote` does."""
    return b" ".join(map(quote, words))
