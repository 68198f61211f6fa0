"""What ships of described models, so that no run computes it again."""

import json
from pathlib import Path

import pytest

from sdbench.models.computed import read_computed, write_computed
from tests.conftest import ROOT

FOLDER = ROOT / "resources/architectures"
DESCRIBED = [path for path in sorted(FOLDER.glob("*.yaml")) if not path.stem.startswith("tiny")]


@pytest.mark.parametrize("name", ["memory", "work"])
def test_what_ships_is_of_the_descriptions_as_they_are(name: str) -> None:
    """After a change of a description: `make computed`."""
    file = ROOT / f"resources/computed/{name}.json"
    rows = read_computed(file, DESCRIBED)
    assert rows == json.loads(file.read_text())["rows"]
    assert {row["model"] for row in rows} == {path.stem for path in DESCRIBED}


def test_what_is_described_otherwise_by_now_is_not_known(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    for path in (one, other):
        path.write_text((FOLDER / "tiny.yaml").read_text())
    file = tmp_path / "computed.json"
    write_computed(file, [one, other], [{"model": "one"}, {"model": "other"}])
    other.write_text(other.read_text() + "# changed\n")
    assert read_computed(file, [one, other]) == [{"model": "one"}]
    assert read_computed(file, [other]) == []
