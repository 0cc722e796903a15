"""Secrets: where they come from, and that no form of them comes back."""

import asyncio
import base64
import json
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover.errors import SecretUnavailable
from cutover.model.effects import CommandReply, Reply, SecretRef
from cutover.model.runbook import SecretSource
from cutover.transports.secrets import Secrets


def known(monkeypatch: pytest.MonkeyPatch, value: str) -> Secrets:
    """Secrets that know one value, named key."""
    monkeypatch.setenv("CUTOVER_TEST_KEY", value)
    secrets = Secrets({"key": SecretSource(env="CUTOVER_TEST_KEY")})
    asyncio.run(secrets.load())
    return secrets


def test_from_environment_file_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTOVER_TEST_KEY", "from env")
    (tmp_path / "file").write_text("from file\n")
    secrets = Secrets(
        {
            "a": SecretSource(env="CUTOVER_TEST_KEY"),
            "b": SecretSource(file=str(tmp_path / "file")),
            "c": SecretSource(command=("printf", "from command\n")),
            "none": SecretSource(env="CUTOVER_TEST_UNSET"),
            "gone": SecretSource(file=str(tmp_path / "gone")),
            "fails": SecretSource(command=("sh", "-c", "echo private; echo private >&2; exit 3")),
            "binary": SecretSource(command=("printf", "\\377")),
        }
    )
    problems = asyncio.run(secrets.load())
    assert sorted(problems) == ["binary", "fails", "gone", "none"]
    assert "private" not in str(problems)
    text = asyncio.run(secrets.unseal((SecretRef("a"), "/", SecretRef("b"), "/", SecretRef("c"))))
    assert text == "from env/from file/from command"
    with pytest.raises(SecretUnavailable, match="no secret named 'x'"):
        asyncio.run(secrets.value("x"))


@given(
    value=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=8, max_size=40),
    before=st.binary(max_size=4),
    after=st.binary(max_size=4),
)
def test_no_form_of_a_value_comes_back(value: str, before: bytes, after: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        secrets = known(patch, value)
    raw = value.encode()
    for form in (raw, urllib.parse.quote_plus(value).encode(), json.dumps(value)[1:-1].encode()):
        assert form not in secrets.scrub(before + form + after)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        scrubbed = secrets.scrub(encode(before + raw + after))
        assert b"${secret:key}" in scrubbed
        assert len(scrubbed.replace(b"${secret:key}", b"")) <= 2 * (len(before) + len(after)) + 8


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20), st.text("ab", max_size=10))
def test_a_stream_is_scrubbed_wherever_it_is_cut(sizes: list[int], noise: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        secrets = known(patch, "abab-secret")
    data = f"{noise}abab-secret{noise}abab-secretab".encode()
    shown, held, rest = b"", b"", data
    for size in sizes:
        chunk, rest = rest[:size], rest[size:]
        part, held = secrets.scrub_stream(held + chunk)
        shown += part
    part, held = secrets.scrub_stream(held + rest)
    assert shown + part + secrets.scrub(held) == secrets.scrub(data)


def test_a_value_cut_at_the_cap_leaves_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = known(monkeypatch, "canary-secret-42")
    cut = CommandReply(0, b"output canary-secr", stdout_cut=True)
    reply = secrets.scrub_reply(Reply(outcome="answered", commands=(cut,), detail="said canary-secret-42"))
    assert (reply.commands[0].stdout, reply.detail) == (b"output ", "said ${secret:key}")
