"""The lab for pytest. A conftest imports from here what its tests use.

As root on Debian a lab that cannot start is a failure of the tests that need it; elsewhere they are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import stack
from tests.lab.lab import Lab, why_not

# Another test session may have the lab; that one is waited for.
SESSION_WAIT = 900.0


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The whole lab, up, for this session alone. One that was up already is used, and stays up."""
    if reason := why_not():
        pytest.skip(reason)
    lab = Lab()
    with lab.locked(wait=SESSION_WAIT):
        was_up = lab.is_up()
        had_services = was_up and stack.switched_on()
        lab.up(services=False)
        try:
            if was_up:
                lab.reset()
            yield lab
        finally:
            if was_up:
                lab.up(services=had_services)
            else:
                lab.down()


@pytest.fixture
def fresh_lab(lab: Lab) -> Iterator[Lab]:
    """The lab for a test that disturbs it: hosts and links are put back afterwards. (Others may use `lab`.)"""
    try:
        yield lab
    finally:
        lab.reset()


@pytest.fixture(scope="module")
def services(lab: Lab) -> Iterator[set[str]]:
    """The story's services, switched on for a module; holds what is to be put back before the next test."""
    lab.up(services=True)
    try:
        yield set()
    finally:
        lab.up(services=False)


@pytest.fixture
def story_lab(lab: Lab, services: set[str]) -> Lab:
    """The lab with the story's services running, for a test that puts back what it changes."""
    if services:
        lab.reset()
        services.clear()
    return lab


@pytest.fixture
def fresh_story_lab(story_lab: Lab, services: set[str]) -> Lab:
    """The same for a test that moves or breaks something: hosts, data and links are put back before the next one."""
    services.add("everything")
    return story_lab
