"""Properties of the case function, on configs that hypothesis makes up."""

import copy
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.case import Case
from sdbench.cases.expansion import (
    MOST_CELLS,
    Absent,
    RunConfig,
    count_cells,
    count_jobs,
    expand_matrix,
    expand_quality,
    expand_searches,
)
from sdbench.cases.options import SWITCHES
from sdbench.config.check import check_config, load_schema
from tests.conftest import BASE, ROOT

SCHEMA = load_schema(ROOT / "config" / "schema.yaml")

names = st.lists(
    st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,5}", fullmatch=True).filter(
        lambda name: not name.endswith(".json")
    ),
    min_size=1,
    max_size=3,
    unique=True,
)
option_sets = st.lists(st.sampled_from(SWITCHES), unique=True, max_size=3).map(
    lambda switches: "+".join(switches) or "none"
)


def some(values: Any, most: int = 3) -> Any:
    return st.lists(values, min_size=1, max_size=most, unique=True)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Return a config that is valid: several models, devices and entries of the matrix."""
    models, devices = draw(names), draw(names)
    generation = st.fixed_dictionaries(
        {
            "prompt": st.text(
                st.characters(codec="utf-8", categories=["L", "P", "Zs"]), max_size=9
            ),
            "steps": st.integers(1, 1000),
            "scheduler": st.sampled_from(["ddim", "pndm", "euler", "dpmsolver"]),
            "guidance": st.floats(0, 100),
            "height": st.integers(1, 512).map(lambda n: 8 * n),
            "width": st.integers(1, 512).map(lambda n: 8 * n),
        }
    )
    kinds = st.sampled_from(["cpu", "cuda", "mps", "xpu"])
    block = st.fixed_dictionaries(
        {
            "model": st.sampled_from(models),
            "devices": some(st.sampled_from(devices)),
            "backends": some(st.sampled_from(list(BACKENDS))),
            "precisions": some(st.sampled_from(["fp32", "tf32", "fp16", "bf16"]), 4),
            "options": some(option_sets),
            "batch_sizes": some(st.integers(1, 4096)),
            "largest_batch": st.sampled_from([0, 16, 64]),
        }
    )
    return {
        "models": {
            name: {"source": {"seeded": "tiny"}, "generation": draw(generation)} for name in models
        },
        "devices": {name: {"kind": draw(kinds)} for name in devices},
        "matrix": draw(st.lists(block, min_size=1, max_size=3)),
    }


def complete(config: dict[str, Any]) -> RunConfig:
    return RunConfig.of(check_config(copy.deepcopy(config), SCHEMA, [BASE]))


@given(configs())
def test_every_cell_is_a_case_or_absent_once_with_its_reason(config: dict[str, Any]) -> None:
    plan = complete(config)
    cases, absent = expand_matrix(plan)
    cells: list[Case | Absent] = [*cases, *absent]
    found = [(cell.variant, cell.batch_size) for cell in cells]
    wanted = {
        (variant, size)
        for entry in plan.matrix
        for variant in entry.variants()
        for size in entry.batch_sizes
    }
    assert len(found) == len(wanted) and set(found) == wanted
    assert all(cell.reason for cell in absent)
    assert count_cells(plan) >= len(wanted)
    assert len({case.id for case in cases}) == len(cases), "two share an identity"


@given(configs(), st.randoms(use_true_random=False))
def test_identity_survives_another_order(config: dict[str, Any], chance: random.Random) -> None:
    """Of keys, of entries, and of every list: none of them has a meaning but batch sizes rise."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            pairs = [(key, shuffled(item)) for key, item in value.items()]
            chance.shuffle(pairs)
            return dict(pairs)
        if isinstance(value, list):
            items = [shuffled(item) for item in value]
            chance.shuffle(items)
            return items
        if isinstance(value, str) and "+" in value and set(value.split("+")) <= {*SWITCHES}:
            return "+".join(shuffled(value.split("+")))
        return value

    def identities(config: dict[str, Any]) -> tuple[set[str], set[Any]]:
        cases, absent = expand_matrix(complete(config))
        return {case.id for case in cases}, {(c.variant, c.batch_size, c.reason) for c in absent}

    assert identities(shuffled(config)) == identities(config)


@given(configs(), st.sampled_from(["prompt", "steps", "guidance", "height", "width", "seed"]))
def test_a_setting_changes_every_identity_of_its_model(config: dict[str, Any], key: str) -> None:
    other = copy.deepcopy(config)
    model = config["matrix"][0]["model"]
    generation = other["models"][model]["generation"]
    new = {"prompt": "another one, longer", "steps": 7, "guidance": 7.25, "seed": 7}
    value = new.get(key, 8 * 3)
    if generation.get(key) == value:
        return
    generation[key] = value
    mine = {case.id for case in expand_matrix(complete(config))[0] if case.variant.model == model}
    theirs = {case.id for case in expand_matrix(complete(other))[0]}
    assert not mine & theirs


@given(configs())
def test_jobs_are_counted_without_being_written_out(config: dict[str, Any]) -> None:
    plan = complete(config)
    cases, _ = expand_matrix(plan)
    sweeps = {(c.variant.model, c.variant.device, c.variant.backend) for c in cases}
    drawn = [variant for pair in expand_quality(plan) for variant in (pair[0], *pair[1])]
    assert count_jobs(plan) >= len(sweeps) + len(drawn)
    assert count_cells(plan) <= MOST_CELLS


@given(configs())
def test_what_can_exist_is_searched_up_to_its_highest_cap(config: dict[str, Any]) -> None:
    plan = complete(config)
    caps = {
        case.variant: max(e.largest_batch for e in plan.matrix if case.variant in e.variants())
        for case in expand_matrix(plan)[0]
    }
    assert expand_searches(plan) == {variant: cap for variant, cap in caps.items() if cap}
