"""`cutover attach`, and the second half of `run` and `resume`: follow a run, and let a person answer.

Theory of operation. What is shown is what is durable: first from the journal, then from the engine's socket, and from
the journal again when the engine hangs up. The run does not live here: Ctrl-C detaches and nothing else happens.
Without a terminal nobody can answer here, so `run` and `resume` end with code 3 once only a person can help (unless
they were told to wait); the run waits on.
"""

import asyncio
import signal
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from cutover import wiring
from cutover.cli.commanding import interpret, send
from cutover.cli.output import Output
from cutover.cli.overview import exit_code, overview, status_line, words
from cutover.cli.progress import Progress
from cutover.cli.screen import END, Screen
from cutover.client import Client
from cutover.errors import EngineGone, ExitCode, JournalCorrupt, JournalError
from cutover.journal.directory import RunDirectory
from cutover.model.events import Event
from cutover.model.text import visible_line
from cutover.ports import Clock
from cutover.transports.clock import RealClock

_TICK = 0.5
# Answers given ahead follow their question in the same breath; longer than this, in seconds, a person is needed.
_BREATH = 1.0
_READ_TRIES = 4

_Item = tuple[str, Event | None]


def attach(args: Namespace) -> ExitCode:
    """`cutover attach [RUN]`."""
    return follow(wiring.find_run(args.run), as_json=args.json, wait=True)


def follow(
    run: RunDirectory,
    *,
    as_json: bool = False,
    wait: bool = True,
    fresh: bool = False,
    after: int = 0,
    farewell: str | None = None,
) -> ExitCode:
    """Follow a run to its end, or until detached.

    fresh: show everything from the first event on. after: what happened up to this event is not shown. farewell: said
    to who detaches, where the run does not simply go on.
    """
    farewell = farewell or detached(run.id)
    output = Output()
    with Screen(output, typing=not as_json and sys.stdin.isatty()) as screen:
        attached = _Attached(run, output, screen, farewell, as_json=as_json, wait=wait)
        return asyncio.run(attached.stay(fresh=fresh, after=after))


class _Attached:
    """One attachment to a run."""

    def __init__(
        self, run: RunDirectory, output: Output, screen: Screen, farewell: str, *, as_json: bool, wait: bool
    ) -> None:
        self._run = run
        self._output = output
        self._screen = screen
        self._farewell = farewell
        self._as_json = as_json
        self._wait = wait
        self._clock: Clock = RealClock()
        self._progress = Progress(typing=screen.typing)
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()
        self._typed: asyncio.Queue[str] = asyncio.Queue()
        self._needed_since: float | None = None

    async def stay(self, *, fresh: bool, after: int) -> ExitCode:
        """Until the run ends, the engine dies, a person is needed who is not here, or somebody detaches."""
        self._catch_up(fresh=fresh, after=after)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: self._queue.put_nowait(("detach", None)))
        if self._screen.typing:
            loop.add_reader(sys.stdin.fileno(), self._pressed)
        serving = asyncio.ensure_future(self._serve())
        beside = [asyncio.ensure_future(work) for work in (self._pump(), self._tick(), self._obey())]
        try:
            while not serving.done():
                waits: list[asyncio.Future[Any]] = [serving, *(task for task in beside if not task.done())]
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # what goes wrong beside must not leave us waiting for ever
            return serving.result()
        finally:
            if self._screen.typing:
                loop.remove_reader(sys.stdin.fileno())
            for task in (serving, *beside):
                task.cancel()
            await asyncio.gather(serving, *beside, return_exceptions=True)

    def _catch_up(self, *, fresh: bool, after: int) -> None:
        """What happened before is told from the first event, from the one behind `after`, or as where it stands."""
        events = self._events()
        from_the_first = fresh or (self._as_json and not after)
        seen = [] if from_the_first else [event for event in events if not after or event.seq <= after]
        self._progress.skip(seen)
        if seen and not self._as_json:
            if not after:
                self._show_overview()
            self._show_questions()
        self._show(events[len(seen) :])

    def _show_overview(self) -> None:
        state, now = self._progress.state, self._clock.utc()
        alive = self._run.socket.exists()
        for mark, text in overview(state, now=now, alive=alive, budget=self._progress.budget):
            self._output.marked("", mark, text)

    def _show_questions(self) -> None:
        for text in self._progress.questions(self._clock.utc()):
            self._output.marked("", "◆", text)

    async def _serve(self) -> ExitCode:
        while True:
            what, event = await self._queue.get()
            if what == "event" and event is not None:
                self._show([event])
            elif what == "detach":
                self._talk(self._farewell)
                return ExitCode.INTERRUPTED
            elif what == "gone":
                return self._end()
            if self._person_is_needed():
                return self._left_waiting()
            if not self._as_json:
                now = self._clock.utc()
                self._screen.status(status_line(self._progress.state, now=now, budget=self._progress.budget))

    async def _pump(self) -> None:
        """Events from the engine, for as long as there is one."""
        seq = self._progress.state.seq
        while True:
            before = seq
            try:
                client = await Client.connect(self._run.socket)
                async for event in client.follow(seq):
                    seq = event.seq
                    self._queue.put_nowait(("event", event))
                await client.close()
            except EngineGone:
                pass
            for event in await self._settled_events(seq):
                seq = event.seq
                self._queue.put_nowait(("event", event))
            if seq == before:  # nobody there, and nothing new: that was all
                self._queue.put_nowait(("gone", None))
                return

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(_TICK)
            self._queue.put_nowait(("tick", None))

    async def _settled_events(self, after: int) -> list[Event]:
        """The same, while an engine may just be closing its journal: its files change under the reader for a moment."""
        for _ in range(_READ_TRIES):
            try:
                return self._events(after)
            except JournalCorrupt:
                raise
            except JournalError:
                await self._clock.sleep(_TICK)
        return self._events(after)

    def _events(self, after: int = 0) -> list[Event]:
        with wiring.open_reader(self._run) as reader:
            return reader.events(after)

    def _show(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.seq <= self._progress.state.seq:
                continue
            entries = list(self._progress.take(event))
            if self._as_json:
                self._output.event(event)
                continue
            for each in entries:
                text = f"{each.step:<{self._width()}} {each.text}" if each.step else each.text
                clock, mark = each.clock, each.mark
                self._screen.above(lambda clock=clock, mark=mark, text=text: self._output.marked(clock, mark, text))  # type: ignore[misc]

    def _width(self) -> int:
        return min(20, max((len(name) for name in self._progress.state.steps), default=0))

    def _pressed(self) -> None:
        for line in self._screen.lines():
            if line == END:
                self._queue.put_nowait(("detach", None))
            else:
                self._typed.put_nowait(line)

    async def _obey(self) -> None:
        """What was typed, one line after the other."""
        while True:
            await self._command(await self._typed.get())

    async def _command(self, line: str) -> None:
        meant = interpret(line, self._progress.state)
        if isinstance(meant, str):
            self._tell(meant)
            return
        try:
            why = await send(self._run, meant, self._progress.state)
        except EngineGone as problem:
            why = str(problem)
        if why is not None:
            self._tell(f"not done: {why}")

    def _tell(self, text: str) -> None:
        self._screen.above(lambda: self._output.marked("", "·", text))

    def _person_is_needed(self) -> bool:
        """Whether nothing but a person can help, for longer than a breath, and there is no terminal for one."""
        state = self._progress.state
        silence = any(asked.get("silence") == "back" and asked.get("until") for asked in state.questions.values())
        needed = (bool(state.questions) and not silence) or state.status in ("held", "back_held")
        now = self._clock.monotonic()
        if not needed or self._wait or self._screen.typing:
            self._needed_since = None
            return False
        self._needed_since = now if self._needed_since is None else self._needed_since
        return now - self._needed_since >= _BREATH

    def _left_waiting(self) -> ExitCode:
        run, state = self._run.id, self._progress.state
        self._talk(
            f"The run waits for a person, and there is no terminal here; its engine waits on. `cutover status {run}` "
            f"shows what it asks, `cutover ctl {run} answer` answers, `cutover attach {run}` follows it again."
        )
        return exit_code(state, alive=True)

    def _end(self) -> ExitCode:
        """The engine is not there any more: as it should be at the end of a run, or not."""
        state, run = self._progress.state, self._run.id
        if state.ended:
            return exit_code(state, alive=False)
        fenced = (
            "its engine stopped acting" if not state.engine_up else "its engine is gone (killed, or its machine died)"
        )
        under_way = ", ".join(name for name, step in state.steps.items() if step.status in ("acting", "undoing"))
        was = f"; {under_way} {'were' if ', ' in under_way else 'was'} under way" if under_way else ""
        if state.engine_up and (silent := wiring.silent_engine(self._run)):
            self._talk(f"Run {run} is {words(state.status)}, and {silent}.")
            return ExitCode.STUCK
        self._talk(
            f"Run {run} is {words(state.status)} and {fenced}{was}. Nothing acts on the hosts now, except what was "
            f"begun there and ends by itself.\n`cutover resume {run}` starts a new engine, which first looks at what "
            f"became of it."
        )
        if self._run.log.exists() and (said := _last_line(self._run)):
            self._talk(f"Its last words: {said}")
        return ExitCode.STUCK

    def _talk(self, text: str) -> None:
        self._screen.above(lambda: self._output.talk(text))


def detached(run: str) -> str:
    """What is said when somebody leaves a run that goes on."""
    return (
        f"Detached; the run goes on. `cutover attach {run}` comes back, `cutover ctl {run} hold` holds it, "
        f"`cutover ctl {run} abort` walks it back."
    )


def _last_line(run: RunDirectory) -> str:
    lines = run.log.read_bytes()[-4096:].decode(errors="backslashreplace").strip().splitlines()
    return visible_line(lines[-1]) if lines else ""
