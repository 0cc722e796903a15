"""`http_check`: wait until a URL answers as it should."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from cutover.model.effects import Http, Reply, Sealed, sealed_text
from cutover.model.kind import Check, Kind, Poll, Scope, Stage
from cutover.model.sealed import SealedText
from cutover.model.text import visible_bytes, visible_line
from cutover.model.units import Duration, show_duration
from cutover.model.verdict import Verdict, failed, passed, unknown

_LONGEST = 120


def _is_url(url: Sealed) -> Sealed:
    if not url or not isinstance(url[0], str) or not url[0].startswith(("http://", "https://")):
        raise PydanticCustomError("url", "expected a URL that begins with http:// or https://")
    if any(isinstance(piece, str) and any(char.isspace() for char in piece) for piece in url):
        raise PydanticCustomError("url", "expected a URL without spaces")
    return url


Url = Annotated[SealedText, AfterValidator(_is_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]


class HttpCheck(Kind):
    """Wait until a URL answers as it should, asked from where the engine runs.

    It asks again and again, `every` second, and is done when the answer has been right for as long as `steady` says.
    When that has not happened `within` the deadline the step has failed. Redirects are not followed: an answer of 302
    is an answer of 302. A URL and a header may hold secrets.

    A health page that does not touch the database proves little: Puma answers while the database is down. Ask for a
    page that reads, or better writes, and look for something in it.

    What it proves: the status, and, where you ask for them, a text in the body and headers of the answer (such as
    which host answered). Its way back: none is needed, it only reads.

    ```yaml
    - answers:
        http_check:
          get: https://social.example/health
          header: {Authorization: "Bearer ${secret:probe}"}
          expect: 200
          body_has: '"db":"ok"'
          answers: {X-App-Host: freud}
          within: 2m
          steady: 3s
    ```
    """

    name: ClassVar[str] = "http_check"

    get: Url
    """The URL to GET."""
    expect: Annotated[int, Field(ge=100, le=599)] = 200
    """The status that it should answer."""
    body_has: Annotated[str, StringConstraints(min_length=1)] | None = None
    """A text that the body should hold, within its first 64 KiB."""
    answers: dict[HeaderName, str] = Field(default_factory=dict)
    """Headers that the answer should have, with exactly these values."""
    header: dict[HeaderName, SealedText] = Field(default_factory=dict)
    """Headers to send."""
    within: Duration | None = None
    """The deadline; review refuses a wait without one."""
    every: Annotated[Duration, Field(gt=0)] = 1.0
    """How long to wait between two requests."""
    steady: Duration = 0.0
    """For how long the answers have to be right, one after the other."""
    patience: Annotated[Duration, Field(gt=0)] = 5.0
    """How long a single request may take; one that takes longer counts as wrong."""

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """One poll."""
        effect = Http(
            method="GET",
            url=self.get,
            headers=tuple(self.header.items()),
            timeout=min(self.patience, scope.timeout),
            reads=True,
        )
        check = Check(key="answers", title=f"{self._url()} answers {self.expect}", effect=effect, judge=self._judge)
        steady = f" for {show_duration(self.steady)}" if self.steady else ""
        poll = Poll(
            key="answers",
            title=f"{self._url()} to answer {self.expect}{steady}",
            checks=(check,),
            interval=self.every,
            deadline=self.within,
            steady=self.steady,
        )
        return (poll,)

    def claims_nothing_to_undo(self) -> str | None:
        """It only reads."""
        return "it only reads"

    def _url(self) -> str:
        url = visible_line(sealed_text(self.get))
        return url if len(url) <= _LONGEST else url[: _LONGEST - 1] + "…"

    def _judge(self, reply: Reply) -> Verdict:
        if reply.status is None:
            return unknown(f"GET {self._url()} gave no answer")
        wrong = self._wrong(reply)
        answered = f"GET {self._url()} answered {reply.status} after {reply.seconds:.2f} s"
        numbers = {"status": reply.status, "expected": self.expect, "seconds": round(reply.seconds, 3)}
        return failed(f"{answered}; {wrong}", **numbers) if wrong else passed(answered, **numbers)

    def _wrong(self, reply: Reply) -> str | None:
        """What is not as it should be."""
        got = {name.lower(): value for name, value in reply.headers}
        if reply.status != self.expect:
            to = f" (it points to {_shown(got['location'])})" if "location" in got else ""
            return f"expected {self.expect}{to}"
        for name, value in self.answers.items():
            if got.get(name.lower()) != value:
                found = _shown(got[name.lower()]) if name.lower() in got else "none"
                return f"expected the header {name}: {_shown(value)}, found {found}"
        if self.body_has is not None and self.body_has.encode() not in reply.body:
            begins = f"; it begins {_shown(visible_bytes(reply.body[:60]))}" if reply.body else ""
            return f"expected {_shown(self.body_has)} in the body, not found in its {len(reply.body)} bytes{begins}"
        return None


def _shown(text: str) -> str:
    line = visible_line(text)
    return f"'{line if len(line) <= _LONGEST else line[: _LONGEST - 1] + '…'}'"
