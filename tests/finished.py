"""One finished run of the workflow, for everything that needs one."""

import shutil
import sys
from pathlib import Path

import yaml

from sdbench.config.check import Config
from tests.conftest import BASE, ROOT, copy_workflow, run_snakemake
from tests.unit.page_factory import HOSTILE

STEPS = 10
RUNS = [1, 2, 3, 5, STEPS]
"""What images are generated with."""

NOT_EXPORTED = "tiny-pixart-sigma"
"""Of another family: no rule knows one; test_families.py and test_offload.py have them all."""
PRESET: Config = yaml.safe_load((ROOT / "config/presets/families-tiny.yaml").read_text())
LAUNCHES = 1
"""Of each case: test_sweep.py has more, and unit tests the intervals of more."""
PROMPTS = [
    "a red circle on a blue background",
    "a green square on a white background",
    "a yellow triangle on a black background",
]
"""Of the set of images."""
SAID = "said.txt"
"""A file of the clone: what Snakemake wrote, which was no terminal's."""
TOO_LARGE = "flux.1-dev"
"""A model that no device of the run has room for."""


def finished_config() -> Config:
    """Return the preset of the bundled model, with more models, measured as shortly as can be.

    The tiny model is in the place of the bundled one, except for images and weights in 8 bits:
    neither means anything for random weights. One of another family is asked for exported networks,
    which it cannot have. A model at full size is asked for everything, on a device that has no room
    for it. `compile` is left out, since it takes minutes: test_options.py compiles a
    smaller model. Text that a user writes is hostile here: it must stay text wherever it is shown.
    """
    config: Config = yaml.safe_load(BASE.read_text())
    del config["pathvars"]
    shapes = config["models"]["shapes"]
    shapes["generation"]["steps"] = STEPS
    config["models"] |= {
        "tiny": {
            "source": {"seeded": "tiny"},
            "generation": shapes["generation"] | {"prompt": HOSTILE},
        },
        NOT_EXPORTED: PRESET["models"][NOT_EXPORTED],
        TOO_LARGE: {
            "source": {"seeded": TOO_LARGE},
            "generation": PRESET["models"]["tiny-flux-dev"]["generation"],
        },
    }
    # Two threads would wait for each other whenever another test takes a core.
    config["devices"] = {
        "cpu": {"kind": "cpu", "threads": 1, "constraint": HOSTILE},
        "small": {"kind": "cpu", "threads": 1, "memory_budget_gb": 8},
    }
    for block in config["matrix"]:
        block["model"] = "tiny"
        if "options" in block:
            left_out = ("compile", "int8-weights")
            block["options"] = [o for o in block["options"] if o not in left_out]
    (plain, *_), twin = config["matrix"], PRESET["matrix"][0]
    eights = {**plain, "model": "shapes", "precisions": ["fp32"], "batch_sizes": [1]}
    too_large = {**twin, "model": TOO_LARGE, "devices": ["small"]}
    config["matrix"] += [
        eights,
        {
            **eights,
            "backends": ["pytorch", "onnxruntime", "openvino"],
            "options": ["int8-weights"],
        },
        {**twin, "model": NOT_EXPORTED, "backends": ["pytorch", "onnxruntime"]},
        {**too_large, "options": ["none", "int8-weights"]},
        {**too_large, "backends": ["onnxruntime"], "options": ["none", "tuned"]},
    ]
    generated = {"trajectory_steps": STEPS, "runs": RUNS, "panel_step": 5}
    config["quality"][0] |= generated
    config["quality"].append(
        {
            **config["quality"][0],
            "model": TOO_LARGE,
            "reference": {"device": "small"},
            "devices": ["small"],
            "backends": ["pytorch", "onnxruntime"],
            "precisions": ["fp32"],
        }
    )
    # As few as can be compared. The variants have images by step too.
    config["quality_set"] = [
        {
            "model": "shapes",
            "device": "cpu",
            "prompts": PROMPTS,
            "batch_size": 2,
            "judge": "shapes",
            "variants": [{"precision": "bf16"}, {"backend": "onnxruntime"}],
        }
    ]
    race = {"model": TOO_LARGE, "device": "small", "sizes": [64], "variants": [{"options": "none"}]}
    config["races"] = [race]
    # As short as can be, and no busy machine has a launch repeated.
    config["measuring"] |= {
        "launches": LAUNCHES,
        "precision": 0,
        "max_busy_cores": 1000,
        "min_samples": 3,
        "phase_samples": 1,
        "min_duration_s": 0,
        "max_duration_s": 5,
        "throughput_duration_s": 0.1,
    }
    return config


SHORTENED = {
    # No launch is repeated because calls that another test delayed contradict each other.
    "measure/disturbance.py": [("DISAGREE = 1.25", "DISAGREE = 1e9")],
    "devices/machine.py": [("WATCH_S = 0.5", "WATCH_S = 0.0")],
    "measure/peak_throughput.py": [("SAMPLES, DURATION_S = 10, 0.5", "SAMPLES, DURATION_S = 2, 0")],
    "measure/settings_search.py": [
        ("ROUNDS = 15", "ROUNDS = 6"),
        ("BLOCK_S = 0.05", "BLOCK_S = 0"),
    ],
}
"""Constants of the code that take time and nothing else: in a file, what they are and become."""


def shorten(clone: Path) -> None:
    """Measure in a clone as shortly as no config has it."""
    for name, changes in SHORTENED.items():
        file = clone / "scripts/sdbench" / name
        text = file.read_text()
        for before, after in changes:
            assert before in text, f"{name}: {before}"
            text = text.replace(before, after)
        file.write_text(text)


WARM = (sys.executable, "-m", "tests.warm_snakemake", "--cores", "1")
"""Snakemake, in a clone, for runs with many jobs."""


def run_workflow(folder: Path) -> None:
    """Run the workflow in a clone, to its end."""
    shorten(copy_workflow(folder))
    (folder / "config/config.yaml").write_text(yaml.safe_dump(finished_config(), sort_keys=False))
    run = run_snakemake(folder, command=WARM, timeout=2400)
    (folder / SAID).write_text(run.stdout + run.stderr)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-5000:]


def copy_run(finished: Path, target: Path) -> Path:
    """Copy a finished run with the dates of its files, from which Snakemake knows what is stale."""
    return Path(shutil.copytree(finished, target, symlinks=True))
