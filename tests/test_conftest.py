"""Why the lab did not run is said as it is."""

from types import SimpleNamespace

from tests.conftest import why_not

LAB, OTHER = SimpleNamespace(keywords={"lab": 1}), SimpleNamespace(keywords={})


def test_why_the_lab_did_not_run() -> None:
    assert "need root on Debian" in why_not({"skipped": [LAB]}, able=False)
    assert "none were selected" in why_not({"passed": [OTHER], "deselected": [LAB]}, able=True)
    assert why_not({"failed": [LAB]}, able=True) == "none passed"
