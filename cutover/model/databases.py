"""A Postgres database of the runbook, with all that was found out about its cluster."""

from dataclasses import dataclass
from typing import Any

from cutover.model.effects import Sealed, sealed_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database of one cluster on one host.

    key: its name in the runbook. host, address: where the cluster runs, for SSH and for the other cluster. unit: of
    systemd, full name. name: of the database; user, password: the engine's own role. directory: of the data. config:
    the directory with postgresql.conf. hba: the file that says who may log in. binaries: where pg_controldata is.
    socket: the directory of the Unix socket. system_identifier: None when it is not pinned: then nothing tells this
    cluster from another one. replicator: the role that a standby logs in with.
    """

    key: str
    host: str
    address: str
    unit: str
    name: str
    user: str
    password: Sealed
    port: int
    directory: str
    config: str
    hba: str
    binaries: str
    socket: str
    replicator: str
    system_identifier: str | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """As JSON-ready data for the plan and its hash; a secret appears by name only."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "password"}
        return {**fields, "password": sealed_text(self.password)}
