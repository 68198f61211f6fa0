"""A config is taken and right, or refused in one line: hundreds of bad ones, by the library."""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from sdbench.cases.case import Case, measured_device
from sdbench.cases.expansion import Absent, RunConfig, expand_matrix, expand_quality
from sdbench.config.check import (
    ONLY_CPU,
    Config,
    _with_numbers,
    check_campaigns,
    check_config,
)
from sdbench.config.files import read_config_file
from sdbench.models.planning import check_sources
from sdbench.runtime.errors import UserError
from tests.conftest import BASE, ROOT
from tests.fuzz.configs import (
    ACCEPTED_FILES,
    REFUSED_FILES,
    VALUES,
    at,
    mutated,
    paths,
    places,
    renamed,
)
from tests.fuzz.refusal import assert_one_line, write
from tests.reliability import Tally
from tests.unit.test_config import overlay

LIMIT_S = 5.0


def plan(file: Path, base: Config, schema: dict[str, Any]) -> tuple[Config, list[Any], list[Any]]:
    """Do with a file of a config what the Snakefile does."""
    merged = overlay(base, read_config_file(file))
    complete = check_config(merged, schema, [BASE, file])
    check_sources(complete["models"], ROOT, ROOT / "resources/architectures", [BASE, file])
    check_campaigns(complete, ROOT / "resources/published.csv", [BASE, file])
    cases, absent = expand_matrix(RunConfig.of(complete))
    expand_quality(RunConfig.of(complete))
    return merged, cases, absent


def assert_right(config: Config, cases: list[Case], absent: list[Absent]) -> None:
    """Check cases against what the config says, counted in another way."""
    wanted = {
        (block["model"], *cell, size)
        for block in config["matrix"]
        for *cell, size in itertools.product(
            block["devices"],
            block["backends"],
            block["precisions"],
            ["+".join(sorted(o.split("+"))) for o in block.get("options", ["none"])],
            block["batch_sizes"],
        )
    }
    cells: list[Case | Absent] = [*cases, *absent]
    found = [
        (
            *(cell.variant.model, cell.variant.device, cell.variant.backend),
            *(cell.variant.precision, "+".join(sorted(cell.variant.switches)) or "none"),
            cell.batch_size,
        )
        for cell in cells
    ]
    assert sorted(found) == sorted(wanted)
    assert len({case.id for case in cases}) == len(cases)
    for case in cases:
        generation = config["models"][case.variant.model]["generation"]
        devices = config.get("devices", {})
        entry = ONLY_CPU.get(case.variant.device, {}) | devices.get(case.variant.device, {})
        device = measured_device(entry)
        assert {**case.generation, **generation} == case.generation
        assert case.device == device


def outcome(file: Path, base: Config, schema: dict[str, Any], *parts: str) -> str:
    """Return `accepted`, with the cases right, or `refused` in one line that has these parts."""
    begin = time.process_time()
    try:
        config, cases, absent = plan(file, base, schema)
    except UserError as error:
        assert_one_line(str(error), file.name, *parts)
        result = "refused"
    else:
        assert_right(_with_numbers(config, schema, schema), cases, absent)
        result = "accepted"
    assert time.process_time() - begin < LIMIT_S
    return result


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Check that a refused config leaves nothing behind: not even what it asks a shell for."""
    monkeypatch.chdir(tmp_path)
    yield
    assert {path.name for path in tmp_path.rglob("*")} <= {"mine.yaml"}


@pytest.fixture
def full(config: Config) -> Config:
    """A config with a value for every key, one of each kind of source."""
    generation = config["models"]["shapes"]["generation"]
    sources = {
        "built": {"seeded": "tiny", "seed": 1},
        "fetched": {"hub": "a/b", "revision": "0" * 40},
    }
    for name, source in sources.items():
        config["models"][name] = {"source": source, "generation": generation}
    needs = ("seconds_per_image", "images_per_minute", "memory_gb", "cost_per_1000_images")
    config["need"] |= dict.fromkeys(needs, 1.0)
    config["matrix"] = config["matrix"][:1]
    config["quality"][0]["runs"] = [1, 2]
    return config


@pytest.mark.parametrize("name", [*REFUSED_FILES, *ACCEPTED_FILES])
def test_a_file_is_refused_or_right(
    name: str, raw_config: Config, schema: dict[str, Any], tmp_path: Path, tally: Tally
) -> None:
    content, *said = REFUSED_FILES.get(name) or (ACCEPTED_FILES[name],)
    wanted = "refused" if said else "accepted"
    file = write(tmp_path / "mine.yaml", content)
    assert outcome(file, raw_config, schema, *map(str, said)) == wanted
    tally.tried("files of a config", wanted)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_in_the_place_of_every_other(
    name: str, full: Config, schema: dict[str, Any], tmp_path: Path, tally: Tally
) -> None:
    file = tmp_path / "mine.yaml"
    for path in places(name, full):
        file.write_text(json.dumps(mutated(full, path, VALUES[name])))
        key = next(str(part) for part in path if isinstance(part, str))
        tally.tried("values in a config", outcome(file, {}, schema, key))


@pytest.mark.parametrize("section", ["models", "devices"])
@pytest.mark.parametrize("name", [n for n, value in VALUES.items() if isinstance(value, str)])
def test_a_value_as_a_name(
    name: str, section: str, full: Config, schema: dict[str, Any], tmp_path: Path, tally: Tally
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(renamed(full, section, VALUES[name])))
    plain = name in ("a word", "a number as text")
    assert outcome(file, {}, schema) == ("accepted" if plain else "refused")
    tally.tried("names in a config", "accepted" if plain else "refused")


def test_a_missing_and_an_unknown_key_in_every_mapping(
    full: Config, schema: dict[str, Any], tmp_path: Path, tally: Tally
) -> None:
    file = tmp_path / "mine.yaml"
    for path in paths(full):
        *parents, key = path
        target = at(full, parents)
        if not isinstance(target, dict):
            continue
        without = mutated(full, path, None)
        inner = at(without, parents)
        del inner[key]
        file.write_text(json.dumps(without))
        tally.tried("keys of a config", outcome(file, {}, schema))
        inner["no such key"] = inner[key] = target[key]
        file.write_text(json.dumps(without))
        assert outcome(file, {}, schema, "no such key") == "refused"
        tally.tried("keys of a config", "refused")


def test_a_file_that_is_not_there(
    raw_config: Config, schema: dict[str, Any], tmp_path: Path, tally: Tally
) -> None:
    (tmp_path / "mine.yaml").mkdir()
    for file in (tmp_path / "mine.yaml", tmp_path / "none.yaml", tmp_path / ("x" * 300)):
        assert outcome(file, raw_config, schema) == "refused"
        tally.tried("files of a config", "refused")
