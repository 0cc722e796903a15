"""Whatever a URL says, the HTTP library's complaint is an outcome, never the end of the engine."""

import pytest

from cutover.model.effects import Http
from cutover.transports.clock import RealClock
from cutover.transports.secrets import Secrets
from cutover.transports.world import RealWorld

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "http://x:abc/", "http://[::1%25lo/", "http://", "gopher://x/"])
async def test_a_url_that_cannot_be_asked_is_refused(url: str) -> None:
    world = RealWorld({}, Secrets(), RealClock())
    reply = await world.perform(Http(method="GET", url=(url,), timeout=5.0, reads=True))
    await world.close()
    assert (reply.outcome, reply.code) == ("refused", "bad-request"), reply
