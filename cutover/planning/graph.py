"""What must come before what: the steps of a plan as a partial order.

A set of steps is a whole number with one bit for each, so that "before" is one operation on a few machine words.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush


class Cycle(Exception):
    """Steps wait for each other in a circle; `names` begins and ends with the same step."""

    def __init__(self, names: Sequence[str]) -> None:
        """Keep the circle, each step after one that it needs."""
        super().__init__(" → ".join(names))
        self.names = tuple(names)


def ordered(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the steps so that each comes after those it needs, and otherwise as they are written. Raises Cycle."""
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        raise Cycle(error.args[1]) from None
    names, place = list(needs), {name: index for index, name in enumerate(needs)}
    ready = [place[name] for name in sorter.get_ready()]
    heapify(ready)
    order = []
    while ready:
        name = names[heappop(ready)]
        order.append(name)
        sorter.done(name)
        for each in sorter.get_ready():
            heappush(ready, place[each])
    return order


class Before:
    """Which steps are certain to be done before, or after, which."""

    def __init__(self, needs: Mapping[str, Iterable[str]]) -> None:
        """Work the order out; `needs` must list every step after those it needs."""
        self._bit = {name: 1 << index for index, name in enumerate(needs)}
        self._names = list(needs)
        self._earlier = dict.fromkeys(needs, 0)
        self._later = dict.fromkeys(needs, 0)
        for name, needed in needs.items():
            for each in needed:
                self._earlier[name] |= self._earlier[each] | self._bit[each]
        for name in reversed(self._names):
            for each in needs[name]:
                self._later[each] |= self._later[name] | self._bit[name]

    def before(self, first: str, second: str) -> bool:
        """Whether every allowed order has `first` done before `second` begins."""
        return bool(self._earlier[second] & self._bit[first])

    def ordered(self, one: str, other: str) -> bool:
        """Whether it is certain which of two comes first."""
        return self.before(one, other) or self.before(other, one)

    def between(self, first: str | None, second: str, some: int) -> bool:
        """Whether one of the set `some` is certain to come after `first` (None: the start) and before `second`."""
        after = -1 if first is None else self._later[first]
        return bool(after & self._earlier[second] & some)

    def set_of(self, names: Iterable[str]) -> int:
        """Return the set of these steps."""
        bits = 0
        for name in names:
            bits |= self._bit[name]
        return bits


def islands(needs: Mapping[str, Iterable[str]]) -> Iterator[list[str]]:
    """Return the steps in groups that nothing connects with each other, each group in the order of `needs`."""
    neighbours: dict[str, list[str]] = {name: [] for name in needs}
    for name, needed in needs.items():
        for each in needed:
            neighbours[name].append(each)
            neighbours[each].append(name)
    seen: set[str] = set()
    for start in needs:
        if start in seen:
            continue
        seen.add(start)
        group, open_ends = {start}, [start]
        while open_ends:
            for each in neighbours[open_ends.pop()]:
                if each not in seen:
                    seen.add(each)
                    group.add(each)
                    open_ends.append(each)
        yield [name for name in needs if name in group] if len(group) > 1 else [start]
