"""Who is in the lab: sites, hosts, addresses, and how far the sites lie from one another."""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN = "lab.test"
PREFIX_LENGTH = 16  # all of 10.77.0.0/16 is on the one link that every host has


@dataclass(frozen=True)
class Host:
    """One machine of the lab. `role` is db, web, edge or ops."""

    name: str
    site: str
    role: str
    address: str


HOSTS: dict[str, Host] = {
    host.name: host
    for host in (
        Host("alice", "basement", "db", "10.77.1.10"),
        Host("yakko", "basement", "web", "10.77.1.21"),
        Host("dot", "basement", "web", "10.77.1.22"),
        Host("nixie", "hetzner", "db", "10.77.2.10"),
        Host("freud", "hetzner", "web", "10.77.2.21"),
        Host("fritz", "hetzner", "web", "10.77.2.22"),
        Host("fra1", "fra", "edge", "10.77.3.10"),
        Host("ord1", "ord", "edge", "10.77.4.10"),
        Host("sgp1", "sgp", "edge", "10.77.5.10"),
        Host("op1", "ops", "ops", "10.77.9.11"),
        Host("op2", "ops", "ops", "10.77.9.12"),
        Host("op3", "ops", "ops", "10.77.9.13"),
    )
}

SITES: tuple[str, ...] = tuple(dict.fromkeys(host.site for host in HOSTS.values()))

# The site whose web hosts serve when the lab comes up; the other site's are installed but stopped.
SERVING_SITE = "basement"

# Round trips between sites, in milliseconds. Hosts of one site are OWN_SITE_MS apart, pairs not named DEFAULT_MS.
OWN_SITE_MS = 0.0
DEFAULT_MS = 20.0
ROUND_TRIP_MS: dict[frozenset[str], float] = {
    frozenset(pair): delay
    for pair, delay in (
        (("basement", "hetzner"), 90.0),
        (("basement", "fra"), 95.0),
        (("basement", "ord"), 40.0),
        (("basement", "sgp"), 210.0),
        (("hetzner", "fra"), 10.0),
        (("hetzner", "ord"), 100.0),
        (("hetzner", "sgp"), 160.0),
        (("fra", "ord"), 100.0),
        (("fra", "sgp"), 160.0),
        (("ord", "sgp"), 220.0),
    )
}


def round_trip_ms(one: str, other: str) -> float:
    """How long a packet takes from site `one` to site `other` and back, before anybody changes it."""
    return OWN_SITE_MS if one == other else ROUND_TRIP_MS.get(frozenset((one, other)), DEFAULT_MS)
