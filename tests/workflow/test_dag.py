"""Which jobs a config has, what a single target needs, and what a wrong config gets."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdbench.devices.machine import machine_bytes
from tests.conftest import copy_workflow, planned, run_snakemake
from tests.forked import dry_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_workflow(tmp_path_factory.mktemp("workflow"))


def with_config(folder: Path, config: object) -> tuple[str, str]:
    """Write a config; return the arguments that name it."""
    (folder / "mine.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return "--configfile", "mine.yaml"


def assert_one_line(run: Any, *said: str) -> None:
    """Check that a run ended with one line for the user, which says this."""
    assert run.returncode != 0
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert all(words in line for words in said), line
    assert "Traceback" not in run.stderr + run.stdout


def one_block(**changes: object) -> dict[str, object]:
    """Return a config of one block: the bundled model, PyTorch, one image; or as `changes` has
    it."""
    block = {"model": "shapes", "devices": ["cpu"], "backends": ["pytorch"], "precisions": ["fp32"]}
    return {
        "matrix": [{**block, "batch_sizes": [1], **changes}],
        "quality": [],
        "quality_set": [],
    }


GENERATION = {"prompt": "a horse", "steps": 4, "height": 64, "width": 64, "seed": 0}
RESULTS = "results/tables/results.csv"


def test_the_default_runs_every_stage(folder: Path) -> None:
    jobs = planned(folder)
    counts = {
        **{"build_model": 1, "measure_sweep": 4, "export_onnx": 1, "convert_openvino": 1},
        **{"measure_peak_throughput": 1, "count_operations": 2},
        # One of the images is of weights in 8 bits, which the set alone asks for.
        **{"generate_images": 6, "compare_quality": 4, "judge_images": 1, "quantize_onnx": 1},
        **{f"collect_{name}": 1 for name in ("cases", "records", "quality")},
        "collect_quality_set": 1,
        **{"plot_speed": 1, "plot_quality_animation": 1, "write_page": 1, "check_results": 1},
        "all": 1,
    }
    assert jobs.items() >= counts.items()
    absent = {"train_shapes", "fetch_model", "race_denoisers", "profile_case"}
    assert not absent & jobs.keys()
    preset = planned(folder, "--configfile", "config/presets/shapes-cpu.yaml")
    counts = {"measure_sweep": 3, "quantize_onnx": 1, "convert_openvino": 2, "search_settings": 2}
    assert preset.items() >= counts.items()


def test_one_figure_needs_only_its_own(folder: Path) -> None:
    jobs = planned(folder, "results/figures/throughput.png")
    assert set(jobs) == {
        "build_model",
        "describe_model",
        "export_onnx",
        "quantize_onnx",
        "convert_openvino",
        "measure_sweep",
        "measure_peak_throughput",
        "count_operations",
        "generate_images",  # whether a speed counts
        "judge_images",
        "collect_quality_set",
        "collect_records",
        "collect_published",
        "plot_throughput",
    }


def test_an_archive_of_records_needs_what_is_measured_and_no_table(folder: Path) -> None:
    jobs = planned(folder, "pack_records", "--configfile", "config/presets/pytorch.yaml")
    assert set(jobs) == {
        "build_model",
        "describe_model",
        "measure_sweep",
        "measure_peak_throughput",
        "count_operations",
        "generate_images",
        "judge_images",
        "pack_records",
    }


def test_with_records_only_nothing_is_measured(folder: Path) -> None:
    run = run_snakemake(folder, "-n", "--config", "records_only=True", "quality_set=[]")
    assert run.returncode != 0 and "MissingInputException" in run.stdout + run.stderr
    assert "results/records/shapes/cpu/pytorch/index.json" in run.stdout + run.stderr


def test_a_race_has_a_job_for_each_backend_and_what_it_is_compared_with(folder: Path) -> None:
    variants = [{}, {"backend": "onnxruntime"}]
    race = {"model": "shapes", "device": "cpu", "sizes": [64, 128], "variants": variants}
    asked = with_config(folder, {"races": [race]})
    assert planned(folder, *asked, "--", "results/figures/ladder.png") == {
        "describe_model": 1,
        "export_onnx": 1,
        "race_denoisers": 2,
        "measure_peak_throughput": 1,
        "count_operations": 2,
        "collect_races": 1,
        "plot_ladder": 1,
    }
    jobs = planned(folder, *asked)
    assert (jobs["plot_ladder"], jobs["race_denoisers"], jobs["check_results"]) == (1, 2, 1)
    # Races leave with the other results.
    assert {"collect_races", "export_results"} <= set(planned(folder, "export_results"))


def test_a_model_that_no_device_has_room_for_is_not_made(folder: Path) -> None:
    generation = GENERATION | {"scheduler": "ddim", "guidance": 7.5}
    device = {"kind": "cpu", "memory_budget_gb": 1}
    config = {
        "models": {"sd-v1": {"source": {"seeded": "sd-v1"}, "generation": generation}},
        "devices": {"cpu": device},
        **one_block(model="sd-v1", backends=["pytorch", "onnxruntime"]),
    }
    measured = {"measure_sweep": 2, "measure_peak_throughput": 1, "collect_records": 1}
    measured |= {"collect_quality_set": 1}
    asked = *with_config(folder, config), "--"
    assert planned(folder, *asked, RESULTS) == {"outline_model": 1, **measured}
    run = dry_run(folder, *asked, "results/onnx/sd-v1.json")
    assert_one_line(run, "error: sd-v1: it fits on none of its devices")
    device["memory_budget_gb"] = 5
    made = ("build_model", "describe_model", "export_onnx", "count_operations")
    with_config(folder, config)
    assert planned(folder, *asked, RESULTS) == dict.fromkeys(made, 1) | measured


def test_what_another_machine_has_room_for_is_not_known_here(folder: Path) -> None:
    """A machine that jobs are sent from may be small, and theirs large."""
    generation = GENERATION | {"scheduler": "flow-euler", "guidance": 3.5}
    config = {
        # 67 GB, with all of them on a CPU of which half is the budget.
        "models": {"flux": {"source": {"seeded": "flux.1-dev"}, "generation": generation}},
        **one_block(model="flux"),
    }
    asked = *with_config(folder, config), "--", RESULTS
    if machine_bytes() < 130e9:
        assert "build_model" not in planned(folder, *asked)
    for remote in (("--jobs", "2"), ("--mode", "remote")):
        assert planned(folder, *remote, *asked)["build_model"] == 1


def test_a_profile_is_made_on_request_of_a_case_that_the_matrix_has_not(folder: Path) -> None:
    target = "results/profile/shapes/cpu/pytorch/fp32/channels-last+int8-weights/batch-3.csv"
    assert planned(folder, target) == {"profile_case": 1}
    absent = "results/profile/shapes/cpu/pytorch/tf32/none/batch-1.csv"
    for _ in range(2):  # and no lock is left behind
        run = run_snakemake(folder, "--cores", "1", absent)
        assert_one_line(run, f"error: {absent}: this case cannot exist: TF32")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("records/tiny/cpu/pytorch/index.json", "found a model tiny; allowed is one of"),
        ("records/shapes/gpu/pytorch/index.json", "shapes/gpu/pytorch: found no cases there"),
        ("races/shapes/cpu/openvino/index.json", "shapes/cpu/openvino: found no races there"),
        ("settings/shapes/cpu/onnxruntime.json", "shapes/cpu/onnxruntime: found no variants to"),
    ],
)
def test_a_job_that_has_nothing_to_do_is_refused_in_one_line(
    folder: Path, target: str, said: str
) -> None:
    assert_one_line(run_snakemake(folder, "--cores", "1", f"results/{target}"), f"error: {said}")


def test_a_quality_figure_measures_nothing(folder: Path) -> None:
    assert "measure_sweep" not in planned(folder, "results/figures/quality_curve.png")


def test_another_config_names_its_own_results(folder: Path) -> None:
    asked = with_config(folder, {"pathvars": {"results": "elsewhere"}})
    assert planned(folder, *asked, "--", "elsewhere/tables/results.csv")["measure_sweep"] == 4


def test_no_export_without_a_backend_that_reads_it(folder: Path) -> None:
    jobs = planned(folder, *with_config(folder, one_block()))
    assert not {"export_onnx", "generate_images"} & jobs.keys()
    assert jobs["check_results"] == 1


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        (["none"], {"export_onnx": 1, "convert_openvino": 1}),
        (["int8-weights"], {"export_onnx": 1, "convert_openvino": 1}),
        (["none", "int8-weights"], {"export_onnx": 1, "convert_openvino": 2}),
        (["tuned"], {"export_onnx": 1, "convert_openvino": 1, "search_settings": 1}),
        (["tuned", "int8-weights+tuned"], {"convert_openvino": 2, "search_settings": 1}),
    ],
)
def test_what_is_made_for_an_engine_is_what_its_options_ask_for(
    folder: Path, options: list[str], needed: dict[str, int]
) -> None:
    asked = with_config(folder, one_block(backends=["openvino"], options=options))
    jobs = planned(folder, *asked, "--", RESULTS)
    made = ("export_onnx", "quantize_onnx", "convert_openvino", "search_settings")
    assert {rule: jobs[rule] for rule in made if rule in jobs} == {"export_onnx": 1} | needed


def test_images_of_a_tuned_variant_that_is_not_measured_have_its_settings_too(
    folder: Path,
) -> None:
    entry = {
        "model": "shapes",
        "reference": {"device": "cpu"},
        "devices": ["cpu"],
        "backends": ["openvino"],
        "precisions": ["fp32"],
        "options": ["none", "tuned"],
    }
    asked = with_config(folder, one_block(backends=["openvino"]) | {"quality": [entry]})
    jobs = planned(folder, *asked)
    assert (jobs["search_settings"], jobs["convert_openvino"], jobs["generate_images"]) == (1, 1, 3)
    target = "results/quality/shapes/cpu/openvino/fp32/none.npz"
    assert "search_settings" not in planned(folder, *asked, "--", target)


def test_gpus_of_one_machine_are_measured_one_after_the_other(folder: Path) -> None:
    """Each is a device and a job of its own, and a job takes every core that Snakemake has."""
    devices = {
        "first": {"kind": "cuda"},
        "second": {"kind": "cuda", "index": 1},
        "arc": {"kind": "xpu"},
    }
    asked = with_config(folder, {"devices": devices, **one_block(devices=list(devices))})
    run = dry_run(folder, "--cores", "4", *asked, "--", RESULTS)
    jobs = [job for job in run.stdout.split("\nrule ") if job.startswith("measure_sweep:")]
    assert len(jobs) == 3
    assert all("threads: 4" in job and "gpu=1" in job for job in jobs)


def test_the_post_can_be_planned_on_any_machine(folder: Path) -> None:
    jobs = planned(folder, "--configfile", "config/presets/lambda-2022.yaml")
    assert jobs["fetch_model"] == 1
    assert jobs["measure_sweep"] == 3


def test_each_device_of_the_matrix_has_its_peaks_once(folder: Path) -> None:
    """Whatever it measures there; a device that is in no matrix has none."""
    config = {
        "devices": {name: {"kind": "cpu"} for name in ("other", "unused")},
        **one_block(devices=["cpu", "other"], backends=["pytorch", "onnxruntime"]),
    }
    jobs = planned(folder, *with_config(folder, config))
    assert (jobs["measure_sweep"], jobs["measure_peak_throughput"]) == (4, 2)
    assert jobs["count_operations"] == 1


BAD = [
    ("measuring: {warmup: 3}", "mine.yaml: measuring.warmup: unknown key"),
    ("matrix: []", "mine.yaml: matrix: found []"),
    ("models: {x: {source: {local: nowhere}}}", "models.x: the key `generation` is missing"),
    (
        "matrix: [{model: shapes, devices: [cpu], backends: [onnxruntime], "
        "precisions: [bf16], batch_sizes: [1]}]",
        "mine.yaml: matrix: no combination can exist; reason of the first:",
    ),
]


@pytest.mark.parametrize(("config", "message"), BAD, ids=[message for _, message in BAD])
def test_a_wrong_config_gets_one_line(folder: Path, config: str, message: str) -> None:
    assert_one_line(dry_run(folder, *with_config(folder, config)), message)
    assert not (folder / "results").exists()


def test_a_device_that_is_not_there_is_refused_before_any_job(folder: Path) -> None:
    config = {
        "pathvars": {"results": "nothing"},
        "devices": {"gpu": {"kind": "cuda", "index": 99}},
        **one_block(devices=["gpu"]),
    }
    for _ in range(2):  # and no lock is left behind
        run = run_snakemake(folder, "--cores", "1", *with_config(folder, config))
        assert_one_line(run, "mine.yaml: devices.gpu.index: found 99")
    assert not (folder / "nothing" / "records").exists()


@pytest.fixture
def no_conda(monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ["PATH"].split(os.pathsep)
    kept = [folder for folder in path if not (Path(folder) / "conda").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(kept))


@pytest.mark.parametrize("option", ["--use-conda", "--software-deployment-method=conda"])
@pytest.mark.parametrize("more", [["-n"], ["results/tables/cases.csv"]], ids=["dry", "real"])
def test_a_missing_conda_is_refused_before_any_job(
    folder: Path, option: str, more: list[str], no_conda: None
) -> None:
    run = run_snakemake(folder, "--cores", "1", option, *more)
    assert_one_line(run, "Miniforge", "`make run` needs no conda")
    assert not (folder / "results").exists()


@pytest.mark.parametrize("mode", ["remote", "subprocess"])
def test_a_job_of_a_cluster_does_not_ask_for_conda(folder: Path, mode: str, no_conda: None) -> None:
    """Its node may have none on its PATH: Snakemake tells it where the environments lie."""
    run = dry_run(folder, "--use-conda", "--mode", mode)
    assert "Miniforge" not in run.stdout + run.stderr


def test_a_locked_folder_can_be_unlocked(folder: Path) -> None:
    run = run_snakemake(folder, "--unlock")
    assert run.returncode == 0, run.stderr
