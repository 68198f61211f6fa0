"""Every image is compared with the fp32 image of the same latents, judged by the gate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdbench.records.record import Record
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import sha256
from sdbench.tables.quality import compare_cases
from tests.unit.records_factory import make_case, make_failure, make_record

GATE = {"min_ssim": 0.9, "min_psnr_db": 20.0}
RIGHT = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def generated(
    folder: Path, name: str, pixels: Any, precision: str, **changes: Any
) -> tuple[Path, Record]:
    image = folder / f"{name}.png"
    Image.fromarray(pixels).save(image)
    file = {"file": image.name, "sha256": sha256(image)}
    record = make_record(make_case(precision=precision), image=file, **changes)
    return folder / f"{name}.json", record


def test_rows_are_judged_against_the_reference_by_both_bounds(tmp_path: Path) -> None:
    near = np.clip(RIGHT.astype(int) + 2, 0, 255).astype(np.uint8)
    made = [
        generated(tmp_path, "far", 255 - RIGHT, "fp16"),
        generated(tmp_path, "near", near, "bf16"),
        generated(tmp_path, "right", RIGHT, "fp32"),
    ]
    rows = compare_cases(made, GATE)
    assert [row["passes_gate"] for row in rows] == [False, True, True]
    assert rows[2]["psnr_db"] == float("inf")
    assert 40 < rows[1]["psnr_db"] < 43
    for bound in ({"min_psnr_db": 50}, {"min_ssim": 1.0}):
        assert not compare_cases(made, GATE | bound)[1]["passes_gate"]


def test_what_has_no_reference_or_no_image_is_not_judged(tmp_path: Path) -> None:
    failed = tmp_path / "failed.json", make_failure(make_case(), "oom", "too big")
    assert compare_cases([generated(tmp_path, "a", RIGHT, "bf16"), failed], GATE) == [{}, {}]
    # Nor are images of seeded weights.
    pair = [generated(tmp_path, p, RIGHT, p, weights="seeded") for p in ("bf16", "fp32")]
    assert compare_cases(pair, GATE) == [{}, {}]
    # Other settings are another image.
    path, record = generated(tmp_path, "a", RIGHT, "bf16")
    record["case"] |= {"generation": {**record["case"]["generation"], "seed": 1}}
    assert compare_cases([(path, record), generated(tmp_path, "b", RIGHT, "fp32")], GATE)[0] == {}


def test_a_image_that_was_changed_is_refused(tmp_path: Path) -> None:
    pair = [generated(tmp_path, "a", RIGHT, "bf16"), generated(tmp_path, "b", RIGHT, "fp32")]
    Image.fromarray(255 - RIGHT).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: missing, or changed"):
        compare_cases(pair, GATE)
