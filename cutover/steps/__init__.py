"""The kinds of step, found from the modules of this package: a new kind is a new file."""

import importlib
import pkgutil

from cutover.model.kind import Kind


def _discover() -> dict[str, type[Kind]]:
    found: dict[str, type[Kind]] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        for item in vars(importlib.import_module(module.name)).values():
            if isinstance(item, type) and issubclass(item, Kind) and item.__module__ == module.name:
                assert item.name not in found, f"two kinds are called {item.name}"
                found[item.name] = item
    return dict(sorted(found.items()))


KINDS: dict[str, type[Kind]] = _discover()
"""Every kind by its word in a runbook, sorted."""
