"""The manual pages of the kinds of step, docs/kinds/*.md, made from the classes themselves.

A test holds that what is committed is up to date (tests/steps/test_pages.py, which also writes them).
"""

import json
from collections.abc import Iterable, Mapping
from inspect import getdoc
from typing import Any

from pydantic import TypeAdapter

from cutover.model.channels import Channel
from cutover.model.kind import Kind
from cutover.model.units import Duration, Size

Schema = dict[str, Any]

_DURATION = TypeAdapter(Duration).json_schema()["pattern"]
_NAMED = {
    _DURATION: "duration, such as 30s or 5m",
    TypeAdapter(Size).json_schema()["pattern"]: "size, such as 64kB or 1MB",
}
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "nothing",
}


def pages(kinds: Mapping[str, type[Kind]]) -> dict[str, str]:
    """Every page by its file's name."""
    index = "".join(f"- [`{name}`]({name}.md): {_summary(kind)}\n" for name, kind in kinds.items())
    made = {f"{name}.md": page(kind) for name, kind in kinds.items()}
    return {"README.md": f"# Kinds of step\n\n{index}\n{_COMMON}", **made}


def page(kind: type[Kind]) -> str:
    """The page of one kind: its docstring, and a table of its parameters."""
    schema = kind.model_json_schema()
    defs = schema.get("$defs", {})
    tables = [f"## Parameters\n\n{_table(schema, defs)}"]
    for name, part in defs.items():
        tables.append(f"### {name}\n\n{part.get('description', '')}\n\n{_table(part, defs)}")
    return f"# {kind.name}\n\n{getdoc(kind)}\n\n" + "\n".join(tables)


def channels_page(channels: Iterable[type[Channel]]) -> str:
    """The page of the channels, made from the classes too."""
    parts = [_CHANNELS]
    for channel in channels:
        schema = channel.model_json_schema()
        name = schema["properties"]["kind"]["const"]
        table = _table(schema, schema.get("$defs", {}))
        parts.append(f"## {name}\n\n{getdoc(channel)}\n\nTried live: no.\n\n{table}")
    return "\n".join(parts)


def _summary(kind: type[Kind]) -> str:
    return (getdoc(kind) or "").partition("\n")[0]


def _table(schema: Schema, defs: Schema) -> str:
    required = schema.get("required", [])
    lines = ["| parameter | what | without it | |", "| --- | --- | --- | --- |"]
    for name, field in schema["properties"].items():
        default = "needed" if name in required else _default(field)
        about = " ".join(field.get("description", "").split())
        lines.append(f"| `{name}` | {_type(field, defs)} | {default} | {about} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None or default in ([], {}):
        return ""
    if field.get("pattern") == _DURATION:
        return f"`{default:g}s`"
    return f"`{default if isinstance(default, str) else json.dumps(default).replace(chr(34), '')}`"


def _type(field: Schema, defs: Schema) -> str:
    """What may be written, in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf"):
        if union in field:
            words = [_type(part, defs) for part in field[union] if part.get("type") != "null"]
            return ", or ".join(dict.fromkeys(words))
    if "enum" in field or "const" in field:
        return " or ".join(f"`{word}`" for word in field.get("enum", [field.get("const")]))
    if "pattern" in field and field["pattern"] in _NAMED:
        return _NAMED[field["pattern"]]
    if field.get("type") == "array":
        return f"list of: {_type(field.get('items', {}), defs)}"
    if field.get("type") == "object":
        return "mapping of names to texts"
    return _WORDS.get(field.get("type", ""), "anything")


_CHANNELS = """# Channels

Where an [`announce`](kinds/announce.md) step can tell people something. A channel has a name in the runbook, and says
on which site it lives, or that it lives elsewhere:

```yaml
secrets: {page: {env: STATUS_TOKEN}, poster: {env: MASTODON_TOKEN}}
channels:
  status: {kind: statuspage, page: abc, token: "${secret:page}", lives_on: elsewhere}
  mastodon: {kind: mastodon, server: "https://social.example", token: "${secret:poster}", lives_on: basement}
```

| channel | a lost answer | taken back by |
| --- | --- | --- |
| mastodon | searched for by its tag, then sent with the same key | an edit or a deletion |
| slack | in doubt | an edit or a deletion |
| slack_webhook | in doubt | a second message |
| discord | in doubt | an edit or a deletion |
| matrix | searched for by its tag, then sent in the same transaction | an edit or a redaction |
| statuspage | searched for by its tag | the incident is resolved with other words |
| webhook | in doubt, unless it is `idempotent` | a second message |

What is in doubt is never repeated blindly: a start asks a person; an update, the end and a retraction become
outstanding. A search sees the last 40 statuses, 100 events or 20 incidents. An answer of 429 means that nothing was
published; it is tried again when the service allows it, within five minutes. After a 5xx nobody can tell. Every
token and every URL of a webhook is a secret: it is never shown, and is taken out of whatever a service answers.

None of them was tried live: what they are held to is a server on loopback that behaves as their documentation says.
"""

_COMMON = """What every step may say, beside its kind: `needs` (the steps that must be done first; without it, the step
before), `timeout` (for each effect; then its outcome is unknown), `retries` (counts only attempts that the probe found
not done), `owner`, `undo: nothing` (there is nothing to take back) and `no_way_back` (why it cannot be taken back).
"""
