"""Durations and sizes as people write them: 200ms, 30s, 5m, 1h30m; 64kB, 1MB, 2GiB."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_FACTORS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LONGEST = 366 * 86_400.0


def parse_duration(text: str) -> float:
    """Seconds of a duration such as 200ms, 30s, 5m, 1h30m or 2d. Raises ValueError with what was expected."""
    match = _DURATION.fullmatch(text)
    if not match or not text:
        raise ValueError(f"{text!r} is not a duration; expected one such as 200ms, 30s, 5m or 1h30m")
    seconds = sum(float(part) * factor for part, factor in zip(match.groups(), _FACTORS, strict=True) if part)
    if seconds > _LONGEST:
        raise ValueError(f"{text!r} is longer than a year")
    return seconds


def parse_size(text: str) -> int:
    """Bytes of a size such as 64kB, 1MB or 2GiB. Raises ValueError with what was expected."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a size; expected one such as 64kB, 1MB or 2GiB")
    return int(float(match[1]) * _SIZES[match[2]])


def show_duration(seconds: float) -> str:
    """A duration for a reader: 0.4s, 58s, 4m10s, 1h30m."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 and seconds != int(seconds) else f"{int(seconds)}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m" if minutes else f"{hours}h"
    return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"


def _duration(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, float) and info.mode == "python":  # one of our own, already parsed
        return value
    try:
        return parse_duration(str(value))
    except ValueError as problem:
        raise PydanticCustomError("duration", "{problem}", {"problem": str(problem)}) from None


def _size(value: Any) -> Any:
    try:
        return value if isinstance(value, int) and not isinstance(value, bool) else parse_size(str(value))
    except ValueError as problem:
        raise PydanticCustomError("size", "{problem}", {"problem": str(problem)}) from None


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^(\\d+d)?(\\d+h)?(\\d+m)?(\\d+(\\.\\d+)?s)?(\\d+ms)?$"}),
]
"""Seconds; written in a runbook as 200ms, 30s, 5m, 1h30m."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": "string", "pattern": "^\\d+(\\.\\d+)? ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$"}),
]
"""Bytes; written in a runbook as 64kB, 1MB, 2GiB."""
