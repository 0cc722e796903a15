"""Hand-made events, and an `Output` whose streams can be read."""

import io
from collections.abc import Callable
from typing import Any

import pytest

from cutover.cli.output import Output
from cutover.model.events import GENESIS, Event


class Story:
    """Events as an engine would write them, one second apart."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(
        self, kind: str, step: str | None = None, *, host: str | None = None, actor: str = "engine", **body: Any
    ) -> Event:
        number = len(self.events) + 1
        at = f"2022-12-01T20:{number // 60:02d}:{number % 60:02d}.000000Z"
        event = Event(
            v=1, run="7f3a9c", seq=number, at_utc=at, mono=float(number), boot_id="b", host=host, actor=actor, token=1,
            plan="9c1e44" + "0" * 58, tool="cutover/0", prev=GENESIS, type=kind, step=step, body=body,
        )  # fmt: skip
        self.events.append(event)
        return event

    def begin(self, *steps: str, title: str = "Leaving the Basement") -> None:
        self.add(
            "run.created", run="7f3a9c", plan="9c1e44" + "0" * 58, title=title, operator="pat@desk", steps=list(steps),
            pinned=True, budget=300.0, actor="pat@desk",
        )  # fmt: skip
        self.add("engine.started", start=1, owner="pat@desk.7f3a9c.1", resumed=False, take_over=False)
        self.run("preparing", "running", "start", "every host is reached, claimed and checked")

    def run(self, source: str, to: str, trigger: str, why: str, actor: str = "engine") -> None:
        self.add("run.moved", source=source, to=to, trigger=trigger, why=why, actor=actor)

    def step(self, step: str, to: str, why: str = "", actor: str = "engine", **more: Any) -> None:
        self.add("step.moved", step, source="", to=to, trigger="", why=why, actor=actor, **more)

    def intent(self, step: str, title: str, key: str = "a", attempt: int = 1, host: str = "alice") -> None:
        effect = {
            "effect": "OnHost",
            "host": host,
            "commands": [{"argv": ["systemctl", "stop", "app web"]}],
            "timeout": 60.0,
        }
        self.add("act.intent", step, host=host, key=key, attempt=attempt, title=title, effect=effect)

    def outcome(
        self, step: str, finding: str, because: str, key: str = "a", seconds: float = 0.3, **reply: Any
    ) -> None:
        reply = {"outcome": "answered" if finding != "unknown" else "unknown", "seconds": seconds, **reply}
        self.add("act.outcome", step, host="alice", key=key, attempt=1, reply=reply, finding=finding, because=because)

    def ask(
        self,
        base: str,
        step: str | None,
        what: str,
        *words: str,
        about: str = "ask",
        known: tuple[str, ...] = (),
        **more: Any,
    ) -> None:
        choices = [
            {"word": word, "does": f"does {word}", "loses": "nothing", "takes": "", "needs_reason": word == "skip"}
            for word in words
        ]
        body = {"silence": "hold", "until": None, **more}
        self.add(
            "question.asked",
            step,
            id=f"{base}.1",
            base=base,
            about=about,
            what=what,
            known=list(known),
            choices=choices,
            **body,
        )

    def answer(self, base: str, step: str | None, choice: str, reason: str = "") -> None:
        self.add("question.answered", step, id=f"{base}.1", choice=choice, reason=reason, arms=[], actor="pat@desk")


@pytest.fixture
def story() -> Story:
    return Story()


class Stream(io.StringIO):
    """A stream that may say that it is a terminal."""

    def __init__(self, *, terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal = terminal
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


Captured = tuple[Output, Stream, Stream]


@pytest.fixture
def captured() -> Callable[..., Captured]:
    def make(environ: dict[str, str] | None = None, **options: Any) -> Captured:
        out, err = Stream(**options), Stream(**options)
        return Output(out, err, environ or {}), out, err

    return make
