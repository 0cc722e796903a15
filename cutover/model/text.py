"""Text from outside, made safe to show.

Rich and Textual pass ESC, OSC 52 and C1 bytes on to the terminal, so whatever did not come from our own
source code (remote output, runbook strings, host names, exception texts) goes through `visible` exactly once,
on its way to a screen, a log or a page. The journal keeps the bytes as they were.
"""

import re
import unicodedata

# Cc controls, Cf format (bidi, zero width), Cs lone surrogates, Co private use, Cn unassigned, Zl and Zp
# line and paragraph separators: nothing here has a width that a reader could see.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_PLAIN = re.compile(r"[\n\x20-\x7e]*")


def visible(text: str) -> str:
    r"""Return `text` with every character that is not plainly visible written out, as in `\x1b` or `\u202e`.

    Newlines stay; a tab becomes four spaces. The result can be printed to any terminal.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(_shown(char) for char in text)


def visible_line(text: str) -> str:
    r"""Like `visible`, on one line: newlines are written as `\n`."""
    return visible(text).replace("\n", "\\n")


def visible_bytes(data: bytes) -> str:
    r"""Decode bytes from outside for a reader; bytes that are not UTF-8 are shown as `\xff`."""
    return visible(data.decode("utf-8", errors="backslashreplace"))


def _shown(char: str) -> str:
    if char == "\n":
        return char
    if char == "\t":
        return "    "
    if unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
