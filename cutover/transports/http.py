"""HTTP requests from where the engine runs: no redirects, no proxies from the environment, a capped body."""

import asyncio
import ssl

import httpx

from cutover.errors import SecretUnavailable
from cutover.model.effects import Http, Reply
from cutover.model.text import visible_line
from cutover.transports.secrets import Secrets


class HttpClient:
    """One client for the run. Every request has a connection of its own: a kept one may be stale, which is in doubt."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._client = httpx.AsyncClient(
            # The system's authorities: httpx's own default ignores them.
            verify=ssl.create_default_context(),
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
            # A small answer must not become a large one here.
            headers={"accept-encoding": "identity", "user-agent": "cutover"},
            # The effect's timeout covers everything.
            timeout=None,  # noqa: S113
        )

    async def perform(self, effect: Http) -> Reply:
        """Send the request. What was certainly not sent is refused; whatever is lost after that is unknown."""
        sent = False

        async def trace(event: str, _info: object) -> None:
            nonlocal sent
            sent = sent or event.endswith("send_request_headers.started")

        try:
            async with asyncio.timeout(effect.timeout):
                return await self._send(effect, trace)
        except SecretUnavailable as problem:
            return Reply(outcome="refused", code="secret", detail=str(problem))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, ValueError) as problem:
            return Reply(outcome="refused", code="bad-request", detail=_said(problem))
        except (httpx.HTTPError, OSError) as problem:  # TimeoutError is an OSError
            late = f"no answer within {effect.timeout:g} s"
            detail = late if isinstance(problem, TimeoutError) else _said(problem)
            if sent:
                return Reply(outcome="unknown", detail=detail)
            return Reply(outcome="refused", code="unreachable", detail=f"{detail}; nothing was sent")
        except Exception as problem:  # the libraries below let others through: a port of 99999 is an OverflowError
            outcome, code = ("unknown", "") if sent else ("refused", "bad-request")
            return Reply(outcome=outcome, code=code, detail=_said(problem))  # type: ignore[arg-type]

    async def close(self) -> None:
        """Let go of every connection."""
        await self._client.aclose()

    async def _send(self, effect: Http, trace: object) -> Reply:
        unseal = self._secrets.unseal
        request = self._client.build_request(
            effect.method,
            await unseal(effect.url),
            headers=[(name, await unseal(value)) for name, value in effect.headers],
            content=(await unseal(effect.body)).encode() or None,
            extensions={"trace": trace},
        )
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk[: effect.cap - len(body)]
                if len(body) >= effect.cap:
                    break
        finally:
            await response.aclose()
        return Reply(
            outcome="answered",
            status=response.status_code,
            headers=tuple(response.headers.multi_items()),
            body=bytes(body),
        )


def _said(problem: Exception) -> str:
    return visible_line(str(problem) or type(problem).__name__)
