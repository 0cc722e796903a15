"""One command on a simulated host: who runs what, and what it answers."""

from dataclasses import dataclass

from cutover.simulator.host import Host

BASE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OPEN_TO_ALL = ("/tmp/", "/var/tmp/", "/dev/shm/", "/var/lib/cutover/")  # noqa: S108 - paths of a simulated host


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command says and how long it takes; what it changes has been changed when this is made."""

    exit: int = 0
    stdout: str = ""
    stderr: str = ""
    takes: float = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command with what stood before it (sudo, env) taken off."""

    host: Host
    argv: tuple[str, ...]
    user: str
    stdin: str
    now: float
    cwd: str = ""
    env: tuple[tuple[str, str], ...] = ()

    @property
    def program(self) -> str:
        """The program's name without its directory."""
        return self.argv[0].rpartition("/")[2]

    @property
    def arguments(self) -> list[str]:
        """What follows the program's name."""
        return list(self.argv[1:])

    def path(self, path: str) -> str:
        """An absolute path, without doubled or trailing slashes."""
        start = self.cwd or ("/root" if self.user == "root" else f"/home/{self.user}")
        full = path if path.startswith("/") else f"{start}/{path}"
        return "/" + "/".join(part for part in full.split("/") if part not in ("", "."))

    def may_write(self, path: str) -> bool:
        """Whether this user may change what lies at that path."""
        if self.user == "postgres" and path.startswith(tuple(c.directory for c in self.host.clusters.values())):
            return True
        return self.user == "root" or path.startswith((*OPEN_TO_ALL, f"/home/{self.user}/"))

    def read(self, path: str) -> str | None:
        """A file's text; None where there is none."""
        host = self.host
        match path:
            case "/etc/machine-id":
                return f"{host.machine_id}\n"
            case "/etc/hostname":
                return f"{host.name}\n"
            case "/proc/sys/kernel/random/boot_id":
                return f"{boot_id(host)}\n"
            case "/dev/null":
                return ""
            case "/dev/stdin":
                return self.stdin
        return host.files.get(path)

    def fail(self, text: str, exit: int = 1) -> Answer:
        """A failure, said as the program would."""
        return Answer(exit, stderr=f"{self.program}: {text}\n")


def boot_id(host: Host) -> str:
    """The kernel's boot id: another one after each reboot."""
    digits = f"{host.boots:04x}{host.machine_id}"[:32].ljust(32, "0")
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
