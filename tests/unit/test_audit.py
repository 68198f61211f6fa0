"""What the audit of the packages says: a vulnerability fails it, a missing network does not."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.audit import judge


def report(*packages: Mapping[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


GOOD = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {"name": "pillow", "version": "13.0.0", "vulns": [{"id": "X-1", "fix_versions": ["13.0.1"]}]}
UNFIXED = {"name": "pip", "version": "1", "vulns": [{"id": "X-2", "fix_versions": []}]}
UNKNOWN = {"name": "local", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("stdout", "said", "vulnerable"),
    [
        (report(GOOD), "1 of 1 packages audited", False),
        (report(GOOD, BAD), "error: pillow 13.0.0: X-1: use 13.0.1", True),
        (report(UNFIXED), "error: pip 1: X-2: no fix yet", True),
        (report(GOOD, UNKNOWN), "warning: 1 packages could not be audited", False),
        ("", "warning: not audited, the service was not reached: no route", False),
        ("{}", "warning: not audited", False),
    ],
)
def test_only_a_vulnerability_fails_the_audit(stdout: str, said: str, vulnerable: bool) -> None:
    lines, found = judge(stdout, "pip-audit began\nno route\n")
    assert said in "\n".join(lines)
    assert found is vulnerable
