"""The pins: who each host was when the runbook was pinned, reviewed and committed beside it."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from cutover.model.kind import Params
from cutover.model.runbook import Name


class UnitPin(Params):
    """The unit file that systemd had loaded for a unit."""

    fragment: Annotated[str, StringConstraints(pattern=r"^/[^\x00\n]*$")]
    """The path of the unit file."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """The hash of its bytes."""


class HostPins(Params):
    """Who a host is, and what it runs on."""

    machine_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    """What /etc/machine-id holds."""
    host_keys: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9@.-]+ [A-Za-z0-9+/=]+$")], ...], Field(min_length=1)
    ]
    """Its public host keys, as `type base64`, sorted."""
    systemd: str | None = None
    """The version of systemd, as `systemctl --version` says it."""
    units: dict[str, UnitPin] = Field(default_factory=dict)
    """The units that the runbook stops or starts there."""


Absolute = Annotated[str, StringConstraints(pattern=r"^/[^\x00\n]*$")]


class DatabasePins(Params):
    """Which Postgres cluster a database is in, and where that keeps its files."""

    system_identifier: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
    """What initdb gave the cluster; all its standbys have the same."""
    version: Annotated[str, StringConstraints(pattern=r"^[0-9.]+$")]
    """The server's version."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """The port that it listens at."""
    directory: Absolute
    """The directory of the data."""
    config: Absolute
    """The directory with postgresql.conf."""
    hba: Absolute
    """The file that says who may log in."""
    binaries: Absolute
    """The directory with pg_controldata."""
    socket: Absolute
    """The directory of the Unix socket."""


class Pins(Params):
    """What the hosts of a runbook were pinned to."""

    version: Literal[1]
    """The version of this format."""
    hosts: dict[Name, HostPins]
    databases: dict[Name, DatabasePins] = Field(default_factory=dict)
    """The databases of the runbook."""
