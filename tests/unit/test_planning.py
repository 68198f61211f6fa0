"""What a config asks for, sorted by the job that does it."""

from pathlib import Path

import pytest

from sdbench.config.check import Config
from sdbench.models.planning import Plan, make_plan
from sdbench.runtime.errors import UserError
from tests.conftest import BASE, ROOT


def plan_of(config: Config, models: Path = Path("nowhere")) -> Plan:
    return make_plan(config, [BASE], ROOT, models, elsewhere=False)


def test_every_case_belongs_to_one_job(config: Config) -> None:
    plan = plan_of(config)
    assert sorted(plan.cases_at) == [
        ("shapes", "cpu", backend) for backend in ("onnxruntime", "openvino", "pytorch")
    ]
    for place, cases in plan.cases_at.items():
        assert {case.variant.place for case in cases} == {place}
    assert sum(map(len, plan.cases_at.values())) == len(plan.cases)
    assert {case.variant for case in plan.cases} <= plan.variants
    assert plan.cases_at["shapes", "gpu", "pytorch"] == []


def test_what_is_compared_need_not_be_measured(config: Config) -> None:
    (entry,) = config["quality"]
    entry["backends"], entry["options"] = ["openvino"], ["none", "tuned"]
    config["matrix"] = config["matrix"][:1]
    plan = plan_of(config)
    assert {reference.backend for reference, _ in plan.compared} == {"pytorch"}
    (tuned,) = {case.variant.options for case in plan.tuned_at["shapes", "cpu", "openvino"]}
    assert tuned == "tuned"
    assert not any(case.variant.backend == "openvino" for case in plan.cases)


def test_records_of_another_machine_need_neither_model_nor_room(
    config: Config, tmp_path: Path
) -> None:
    """What that machine had no room for is told by what it described, not by this machine."""
    config["models"]["shapes"]["source"] = {"local": "/only/there"}
    config["models"]["other"] = config["models"]["shapes"]
    config["matrix"].append({**config["matrix"][0], "model": "other"})
    config["records_only"] = True
    (tmp_path / "shapes.json").write_text('{"files": ["unet"]}')
    (tmp_path / "other.json").write_text('{"files": []}')
    assert plan_of(config, tmp_path).too_large == {"other"}


def test_a_matrix_without_a_cell_that_can_exist(config: Config) -> None:
    block = config["matrix"][0] | {"backends": ["onnxruntime"], "precisions": ["tf32"]}
    config["matrix"] = [block]
    with pytest.raises(UserError, match=r"matrix: no combination can exist.*: change devices"):
        plan_of(config)


SET: Config = {
    **{"model": "shapes", "device": "cpu", "reference": {"backend": "pytorch"}},
    **{"prompts": ["a", "b", "c"], "seeds": [5, 7], "pairs": 4, "batch_size": 2},
    **{"judge": "shapes", "margin": 0.05, "variants": []},
}
WAY = {"backend": "pytorch", "precision": "fp32", "options": "none"}


def test_a_set_has_all_prompts_of_a_seed_before_the_next_seed(config: Config) -> None:
    config["quality_set"] = [SET | {"reference": WAY, "variants": [WAY | {"precision": "bf16"}]}]
    found = plan_of(config).sets["shapes"]
    assert found.wanted == [("a", 0, 5), ("b", 1, 5), ("c", 2, 5), ("a", 0, 7)]
    assert [variant.precision for variant in found.variants] == ["fp32", "bf16"]
    assert {*found.variants} <= {*plan_of(config).images}


def test_a_set_that_names_no_variants_has_all_that_are_measured_or_compared(config: Config) -> None:
    config["quality_set"] = [SET | {"reference": WAY}]
    plan = plan_of(config)
    measured = {case.variant for case in plan.cases} | {other for _, other in plan.compared}
    assert {*plan.sets["shapes"].others} == measured - {plan.sets["shapes"].reference}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"pairs": 7},
            r"\[0\]\.pairs: found 7; allowed are 6, of 3 prompts and 2 seeds",
        ),
        ({"pairs": 0, "seeds": [*range(40_000)]}, r"found 120,000; allowed are 100,000"),
        ({"prompts": "no/such.txt"}, r"quality_set\[0\]\.prompts: .*no/such\.txt: No such file"),
    ],
)
def test_a_set_that_cannot_be_is_refused(config: Config, changes: Config, said: str) -> None:
    config["quality_set"] = [SET | {"reference": WAY} | changes]
    with pytest.raises(UserError, match=said):
        plan_of(config)
