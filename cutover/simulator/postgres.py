"""Postgres clusters on simulated hosts: what they have written, received and replayed, and how they end.

Held against Postgres 15 by tests/postgres. The habits that matter most here:

- A clean stop writes a final checkpoint and sends it to every standby that streams at that moment, and to no other:
  the stop says nothing about what a standby has. A death leaves "in production" and an old checkpoint.
- A standby replays later than it receives (several seconds later where an archive is asked first).
- A cluster that was started as a primary, if only once, has written: it cannot follow a timeline that began before.
- A reload changes who may log in; sessions that are open stay open.

Nothing runs in the background: `flow` lets all clusters come to where they are at a moment.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import PlainSerializer

from cutover.checks.postgres import FENCE_BEGIN

if TYPE_CHECKING:
    from cutover.simulator.host import Host

CHECKPOINT_SIZE = 120
"""Bytes of the record of a checkpoint: where it begins, and where the log ends, differ by this."""
Names = Annotated[set[str], PlainSerializer(sorted)]
STATUS_INTERVAL = 10.0
"""Seconds after which a standby says how far it is even if nothing moves."""


@dataclass(slots=True, kw_only=True)
class Cluster:
    """A cluster. Positions are bytes of the log.

    follow: whose standby it is by its own settings (an address), beside conf.d. end: written, or received. samples:
    when how much was received, as far as it is not replayed. followers: how many stream from it. history: timelines
    that ended, and where. clients: the sessions that others hold whenever they are let in; open: those they hold now.
    writes: bytes per second while any is open. written_at: when `end` was last brought up to date. shipping: it was
    stopped in this very moment. cut_until: nothing comes from its primary. stalled_until: it does not replay. dies: its
    next stop is its death.
    """

    unit: str
    address: str
    port: int
    name: str
    directory: str
    config: str
    hba: str
    socket: str
    system_identifier: str
    timeline: int = 1
    running: bool = False
    role: Literal["primary", "standby"] = "primary"
    state: str = "shut down"
    end: int = 0x5000000
    replayed: int = 0
    checkpoint: int = 0x5000000
    checkpoint_timeline: int = 1
    samples: list[tuple[float, int]] = field(default_factory=list)
    replay_takes: float = 0.05
    history: list[tuple[int, int]] = field(default_factory=list)
    follow: str = ""
    streaming: bool = False
    followers: int = 0
    heard: float = 0.0
    slots: Names = field(default_factory=set)
    clients: int = 0
    open: int = 0
    fenced: bool = False
    writes: int = 0
    written_at: float = 0.0
    canaries: list[str] = field(default_factory=list)
    shipping: bool = False
    cut_until: float = 0.0
    stalled_until: float = 0.0
    dies: bool = False

    @property
    def writable(self) -> bool:
        """Whether anybody but the engine can write there."""
        return self.running and self.role == "primary" and (not self.fenced or self.open > 0)

    def copy(self) -> "Cluster":
        """A deep copy."""
        return replace(
            self,
            samples=list(self.samples),
            history=list(self.history),
            slots=set(self.slots),
            canaries=list(self.canaries),
        )


# --- what its host does to it


def started(host: "Host", unit: str, now: float) -> None:
    """Its unit has come up."""
    cluster = host.clusters.get(unit)
    if cluster is None or cluster.running:
        return
    cluster.running, cluster.written_at = True, now
    host.files[f"{cluster.directory}/postmaster.pid"] = "1000\n"
    if f"{cluster.directory}/standby.signal" in host.files:
        cluster.role, cluster.state = "standby", "in archive recovery"
        cluster.replayed, cluster.samples = cluster.end, []
    else:
        cluster.role, cluster.state = "primary", "in production"
        cluster.end += 0x110  # that it was started is in its log, whoever writes or does not
    load_hba(host, cluster)


def stopped(host: "Host", unit: str, now: float) -> None:
    """Its unit was stopped: cleanly, unless it dies of it."""
    cluster = host.clusters.get(unit)
    if cluster is None or not cluster.running:
        return
    if cluster.dies:
        died(host, unit)
        return
    write(cluster, now)
    if cluster.role == "primary":
        checkpoint(cluster)
        cluster.state, cluster.shipping = "shut down", True
    else:
        # A restartpoint: as far as it has replayed, on the timeline that it has come to.
        cluster.state, cluster.checkpoint_timeline = "shut down in recovery", cluster.timeline
    _gone(host, cluster)


def died(host: "Host", unit: str) -> None:
    """Its processes are gone without a word."""
    cluster = host.clusters.get(unit)
    if cluster is not None and cluster.running:
        _gone(host, cluster)


def _gone(host: "Host", cluster: Cluster) -> None:
    cluster.running, cluster.open, cluster.streaming = False, 0, False
    host.files.pop(f"{cluster.directory}/postmaster.pid", None)


# --- what statements do to it


def load_hba(host: "Host", cluster: Cluster) -> None:
    """Read who may log in; others come back when they are let in again."""
    cluster.fenced = host.files.get(cluster.hba, "").startswith(FENCE_BEGIN)
    if not cluster.fenced:
        cluster.open = cluster.clients


def write(cluster: Cluster, now: float) -> None:
    """Let those who are connected have written until now."""
    if cluster.running and cluster.role == "primary" and cluster.open:
        cluster.end += int(cluster.writes * (now - cluster.written_at)) & ~7
    cluster.written_at = now


def checkpoint(cluster: Cluster) -> None:
    """Write a checkpoint to the log and to the control file."""
    cluster.checkpoint, cluster.checkpoint_timeline = cluster.end, cluster.timeline
    cluster.end += CHECKPOINT_SIZE


def promote(host: "Host", cluster: Cluster, now: float) -> None:
    """End recovery: all that was received is replayed, and a new timeline begins."""
    cluster.replayed, cluster.samples = cluster.end, []
    cluster.history.append((cluster.timeline, cluster.end))
    cluster.timeline += 1
    cluster.role, cluster.state, cluster.streaming, cluster.written_at = "primary", "in production", False, now
    cluster.end += 0x40
    host.files.pop(f"{cluster.directory}/standby.signal", None)
    load_hba(host, cluster)


# --- between clusters


def flow(hosts: "Iterable[Host]", now: float) -> None:
    """Let every cluster come to where it is now: what was written, sent, received and replayed."""
    hosts = list(hosts)
    places = [(host, cluster) for host in hosts for cluster in host.clusters.values()]
    for _, cluster in places:
        write(cluster, now)
    for host, cluster in places:
        if cluster.running and cluster.role == "standby" and host.silent_since(now) is None:
            _receive(host, cluster, places, now)
            _replay(cluster, now)
        elif cluster.running and cluster.role == "primary":
            cluster.replayed = cluster.end
    for _, cluster in places:
        cluster.shipping = False
        cluster.followers = sum(1 for _ in standbys_of(hosts, cluster))


def primary_of(host: "Host", cluster: Cluster, places: "list[tuple[Host, Cluster]]") -> "tuple[Host, Cluster] | None":
    """Where it is told to receive from."""
    text = host.files.get(f"{cluster.config}/conf.d/cutover.conf", "")
    words = dict(word.partition("=")[::2] for word in text.replace("'", " ").split())
    wanted = (words["host"], int(words["port"])) if "host" in words else (cluster.follow, 0)
    return next(
        ((there, each) for there, each in places if each.address == wanted[0] and wanted[1] in (0, each.port)), None
    )


def _receive(host: "Host", cluster: Cluster, places: "list[tuple[Host, Cluster]]", now: float) -> None:
    found = primary_of(host, cluster, places)
    was = cluster.streaming
    cluster.streaming = False
    if found is None or found[1] is cluster or now < cluster.cut_until:
        return
    there, primary = found
    sends = primary.running or (primary.shipping and was)
    if not sends or (primary.running and there.silent_since(now) is not None) or not _can_follow(cluster, primary):
        return
    cluster.streaming, cluster.timeline, cluster.heard = primary.running, primary.timeline, now
    if primary.end > cluster.end:
        cluster.end = primary.end
        cluster.samples.append((now, cluster.end))


def _can_follow(cluster: Cluster, primary: Cluster) -> bool:
    """It is the same cluster, and has nothing beyond where the primary's timeline left its own."""
    if cluster.system_identifier != primary.system_identifier or cluster.timeline > primary.timeline:
        return False
    ends = dict(primary.history)
    return cluster.timeline == primary.timeline or cluster.end <= ends.get(cluster.timeline, -1)


def _replay(cluster: Cluster, now: float) -> None:
    if now < cluster.stalled_until:
        return
    while cluster.samples and cluster.samples[0][0] + cluster.replay_takes <= now:
        cluster.replayed = max(cluster.replayed, cluster.samples.pop(0)[1])


def standbys_of(hosts: "Iterable[Host]", primary: Cluster) -> "Iterator[tuple[str, Cluster]]":
    """Who streams from it, by the name it gives itself."""
    places = [(host, cluster) for host in hosts for cluster in host.clusters.values()]
    for host, cluster in places:
        found = primary_of(host, cluster, places)
        if cluster.streaming and found is not None and found[1] is primary:
            text = host.files.get(f"{cluster.config}/conf.d/cutover.conf", "")
            name = text.partition("application_name=")[2].partition("'")[0]
            yield name or "walreceiver", cluster
