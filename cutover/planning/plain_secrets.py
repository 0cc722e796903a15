"""A secret may stand only where it stays sealed: any other field would carry it into journals and onto screens."""

from pydantic import BaseModel

from cutover.model.sealed import plain_secrets
from cutover.planning.diagnostics import Diagnostic
from cutover.planning.problems import Problems
from cutover.planning.tree import Node, Path
from cutover.planning.validate import Describe


def refuse_plain_secrets(model: BaseModel, node: Node, describe: Describe, problems: Problems) -> None:
    """Note every field of `model`, which was built from `node`, that holds a reference to a secret as plain text."""
    for path in plain_secrets(model):
        message = f"{describe(path)} cannot hold a secret: it would be seen in the journal and on screens."
        hint = "Put it where secrets stay sealed, such as a command's stdin."
        span = _deepest(node, path).span
        problems.extend([Diagnostic.at(span, problems.source.file, message, hint=hint)])


def _deepest(node: Node, path: Path) -> Node:
    """Follow the path as far as the tree has it: a list in the model may be one text in the file."""
    for step in path:
        below = node.child(step)
        if below is None:
            break
        node = below
    return node
