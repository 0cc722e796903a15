"""Inventories: ours, and Ansible's in three formats."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutover.errors import UsageError
from cutover.planning import planner
from cutover.planning.inventory import Inventory, read, text_of
from cutover.planning.problems import Refused
from tests.planning.toys import KINDS, source

HOSTS = ("alice", "yakko", "wakko", "nixie", "freud", "fritz")
GO = "  - go: {question: {text: Go?}}\n"


def good(text: str, file: str = "hosts") -> Inventory:
    inventory, found = read(text, file, HOSTS)
    assert not found, found
    return inventory


def bad(text: str, file: str = "hosts") -> str:
    _, found = read(text, file, HOSTS)
    return "\n".join(f"{each.line}:{each.column} {each.message} {each.hint}".strip() for each in found)


def test_our_own_format() -> None:
    inventory = good("hosts: {alice: {ssh: lab-alice}, nixie: {ssh: 10.0.0.2, user: root, port: 2222}}\nvars: {a: 1}")
    assert inventory.strict
    assert inventory.hosts["alice"].ssh == "lab-alice"
    assert (inventory.hosts["nixie"].user, inventory.hosts["nixie"].port) == ("root", 2222)
    assert inventory.vars["a"].value == 1


@pytest.mark.parametrize("ssh", ["-oProxyCommand=x", "a b", "", "a;b", "$(x)"])
def test_a_destination_is_never_an_option_or_a_command(ssh: str) -> None:
    assert "hosts.alice.ssh: expected text that matches" in bad(f'hosts: {{alice: {{ssh: "{ssh}"}}}}')


def test_ansible_ini() -> None:
    inventory = good(
        """\
# the lab
lonely ansible_host=10.9.9.9   # not ours
[basement]
alice ansible_host=10.0.0.1 ansible_user='the operator'
yakko:2222
wakko ansible_host="10.0.0.3"  # a comment
[hetzner]
n[i:i]xie
fr[eu:eu]d
[hetzner:vars]
ansible_user = root
[all:vars]
ansible_port=22
domain = lab.example
[everything:children]
basement
hetzner
""".replace("the operator", "operator")
    )
    assert not inventory.strict
    assert inventory.hosts["alice"].ssh == "10.0.0.1"
    assert inventory.hosts["alice"].user == "operator"
    assert inventory.hosts["yakko"].port == 2222
    assert inventory.hosts["wakko"].ssh == "10.0.0.3"
    assert (inventory.hosts["nixie"].ssh, inventory.hosts["nixie"].user) == ("nixie", "root")
    assert "lonely" not in inventory.hosts
    assert inventory.vars["domain"].value == "lab.example"


def test_ansible_ini_ranges() -> None:
    _, found = read("[web]\nweb[01:03].x ansible_host=10.0.0.1\n", "hosts", ("web01.x", "web03.x"))
    assert not found
    inventory, _ = read("[web]\nweb[01:03].x\ndb-[a:c]\n", "hosts", ("web01.x", "web02.x", "web03.x", "db-b", "db-d"))
    assert set(inventory.hosts) == {"web01.x", "web02.x", "web03.x", "db-b"}
    inventory, _ = read("n[1:9:4]\n", "hosts", [f"n{number}" for number in range(20)])
    assert set(inventory.hosts) == {"n1", "n5", "n9"}


def test_ansible_precedence_child_over_parent_host_over_all() -> None:
    inventory = good("""\
[all:vars]
ansible_user=everyone
[outer:children]
inner
[outer:vars]
ansible_user=outer
[inner]
alice
yakko ansible_user=own
[inner:vars]
ansible_user=inner
[other]
wakko
""")
    assert [inventory.hosts[name].user for name in ("alice", "yakko", "wakko")] == ["inner", "own", "everyone"]


def test_ansible_yaml() -> None:
    inventory = good("""\
all:
  vars: {ansible_user: root}
  hosts:
    alice: {ansible_host: 10.0.0.1, ansible_port: 2222}
  children:
    web:
      hosts:
        yakko:
        wakko: {ansible_user: me}
    empty:
""")
    assert (inventory.hosts["alice"].port, inventory.hosts["alice"].user) == (2222, "root")
    assert inventory.hosts["wakko"].user == "me"


def test_what_ansible_inventory_prints() -> None:
    inventory = good(
        '{"_meta": {"hostvars": {"alice": {"ansible_host": "10.0.0.1", "domain": "x"}}}, "all": {"children": ["web"]},'
        ' "web": {"hosts": ["alice", "yakko"]}}'
    )
    assert inventory.hosts["alice"].ssh == "10.0.0.1"
    assert inventory.hosts["yakko"].ssh == "yakko"
    assert "domain" not in inventory.vars, "yakko has none"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$ANSIBLE_VAULT;1.1;AES256\n3132", "1:1 This file is encrypted with ansible-vault"),
        ("alice ansible_host={{ x }}\n", "Expected name=value after the host, found 'x'."),
        ('alice ansible_host="{{ x }}"\n', "'{{ x }}' is a template, which only Ansible can work out."),
        ('alice ansible_host="x\n', "1:1 The quote in this line is never closed."),
        ("[a:b]\n", "'b' is no part of a group."),
        ("[a:vars]\nx\n", "2:1 Expected 'name = value' here."),
        ("[a:children]\nb\n[b:children]\na\n", "The groups of this inventory are in one another"),
        ("alice ansible_port=x\n", "alice: expected a whole number"),
        ("alice ansible_host=-oX\n", "alice: expected text that matches"),
        ("all: {hosts: [alice]}", "Expected a mapping, found a list."),
        ("all: {host: {alice: }}", "'host' is no part of a group."),
        ("all: {vars: {x: !vault y}}", "Tags such as !vault are not read here."),
        ("{[", "never closed"),
        ("hosts: {alice: {ssh: a, prot: 22}}", "hosts.alice has no parameter 'prot'. Did you mean 'port'?"),
        ("x[0000:999999999]", "An inventory of more than 10000 hosts is not read here."),
    ],
)
def test_what_is_wrong_with_an_inventory(text: str, said: str) -> None:
    assert said in bad(text)


def test_a_host_that_ansible_knows_badly_and_the_runbook_not_at_all_is_no_matter() -> None:
    assert good('other ansible_host="{{ x }}" ansible_port=x\nalice\n').hosts.keys() == {"alice"}


def test_a_plan_reaches_hosts_as_the_inventory_says() -> None:
    inventory = "hosts: {alice: {ssh: lab-alice, user: root}}"
    here = planner.plan(source(GO), KINDS)
    there = planner.plan(source(GO, inventory=inventory, inventory_file="lab.yaml"), KINDS)
    assert (here.hosts["alice"].destination, here.hosts["alice"].user) == ("alice", None)
    assert (there.hosts["alice"].destination, there.hosts["alice"].user) == ("lab-alice", "root")
    assert here.hash != there.hash


def test_hosts_that_only_the_inventory_has() -> None:
    with pytest.raises(Refused, match=r"no host 'alise'\. Did you mean 'alice'\?"):
        planner.plan(source(GO, inventory="hosts: {alise: {ssh: x}}"), KINDS)
    with pytest.raises(Refused, match=r"no variable 'unti'\. Did you mean 'unit'\?"):
        planner.plan(source(GO, inventory="vars: {unti: x}"), KINDS)
    planner.plan(source(GO, inventory="alise ansible_host=x nothing=x\n"), KINDS)


def test_the_text_of_an_inventory(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        text_of(file)
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not UTF-8 text: byte 0"):
        text_of(file)
    file.write_text("#!comment\nalice\n")
    assert text_of(file) == "#!comment\nalice\n", "it is no script: it cannot be run"


def test_only_ansible_runs_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, bin_ = tmp_path / "hosts.py", tmp_path / "bin"
    script.write_text("#!/bin/sh\nexit 9\n")
    script.chmod(0o755)
    bin_.mkdir()
    monkeypatch.setenv("PATH", str(bin_))
    with pytest.raises(UsageError, match="`ansible-inventory` would run, and that is not installed here"):
        text_of(script)
    fake = bin_ / "ansible-inventory"
    fake.write_text(f"#!{sys.executable}\nimport sys\nprint({{'_meta': {{}}}}, sys.argv[1], sys.argv[3])\n")
    fake.chmod(0o755)
    assert text_of(script) == "{'_meta': {}} -i --list\n"
    fake.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('\\x1b[1mno such plugin')\n")
    with pytest.raises(UsageError, match=r"exited 1: \\x1b\[1mno such plugin"):
        text_of(script)


PIECES = ["alice", "[a]", "[a:vars]", "[a:children]", "x=1", " ", "\n", "hosts:", "{", "}", "a[1:3]", "a[0:1:0]", "'"]


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=80) | st.lists(st.sampled_from(PIECES)).map("".join),
    st.sampled_from(["hosts", "hosts.ini", "hosts.yaml"]),
)
def test_no_inventory_makes_a_traceback(text: str, file: str) -> None:
    read(text, file, HOSTS)
