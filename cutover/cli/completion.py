"""`cutover completion SHELL`: the scripts that shells complete by. Made by shtab from the parser, kept as files."""

from argparse import Namespace
from importlib import resources

from cutover.cli.output import Output
from cutover.errors import ExitCode

FILES = {"bash": "cutover.bash", "zsh": "_cutover"}

# Ids come from the state directory itself, so that no Python starts while somebody types.
PREAMBLE = {
    "bash": """\
_cutover_runs() {
  local runs="${CUTOVER_STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/cutover}/runs"
  compgen -W "last $(ls "$runs" 2>/dev/null)" -- "$1"
}
""",
    "zsh": """\
_cutover_runs() {
  local runs="${CUTOVER_STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/cutover}/runs"
  compadd -- last $(ls "$runs" 2>/dev/null)
}
""",
}


def completion(args: Namespace) -> ExitCode:
    """`cutover completion SHELL`."""
    script = resources.files("cutover.cli.completions").joinpath(FILES[args.shell])
    Output().raw(script.read_text("utf-8"))
    return ExitCode.OK
