"""Ctrl-C where it must not come in the middle: it is kept, and comes when that is over."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[Callable[[], bool]]:
    """Keep Ctrl-C until the end of the block, and raise KeyboardInterrupt there. Yields whether it was pressed."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
