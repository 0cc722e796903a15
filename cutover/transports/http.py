"""HTTP requests from where the engine runs: no redirects, no proxies from the environment, a capped body."""

import asyncio
import ssl

import httpx

from cutover.errors import SecretUnavailable
from cutover.model.effects import Http, Reply
from cutover.model.text import visible_line
from cutover.transports.secrets import Secrets

_METHODS_THAT_READ = frozenset({"GET", "HEAD"})


class HttpClient:
    """One client for the run; connections are kept between requests."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        # The system's authorities: httpx's own default ignores them.
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(),
            follow_redirects=False,
            trust_env=False,
            timeout=None,  # noqa: S113
        )

    async def perform(self, effect: Http) -> Reply:
        """Send the request; the effect's timeout covers everything up to the last byte of the body kept.

        A connection that was never made is refused; anything lost after that is unknown unless the effect reads,
        but a reading effect's reply is unknown as well: nobody can say what it would have answered.
        """
        try:
            async with asyncio.timeout(effect.timeout):
                return await self._send(effect)
        except SecretUnavailable as problem:
            return Reply(outcome="refused", code="secret", detail=str(problem))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as problem:
            return Reply(outcome="refused", code="unreachable", detail=_said(problem))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, ValueError) as problem:
            return Reply(outcome="refused", code="bad-request", detail=_said(problem))
        except TimeoutError:
            return Reply(outcome="unknown", detail=f"no answer within {effect.timeout:g} s")
        except (httpx.HTTPError, OSError) as problem:
            return Reply(outcome="unknown", detail=_said(problem))

    async def close(self) -> None:
        """Let go of every connection."""
        await self._client.aclose()

    async def _send(self, effect: Http) -> Reply:
        unseal = self._secrets.unseal
        url = await unseal(effect.url)
        headers = [(name, await unseal(value)) for name, value in effect.headers]
        content = (await unseal(effect.body)).encode()
        body = bytearray()
        async with self._client.stream(effect.method, url, headers=headers, content=content or None) as response:
            async for chunk in response.aiter_bytes():
                body += chunk[: effect.cap - len(body)]
                if len(body) >= effect.cap:
                    break
            return Reply(
                outcome="answered",
                status=response.status_code,
                headers=tuple((name, value) for name, value in response.headers.multi_items()),
                body=bytes(body),
            )


def _said(problem: Exception) -> str:
    return visible_line(str(problem) or type(problem).__name__)
