"""Files in results/ that were cut or changed by hand, and weights that were damaged."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from collect_exports import collect_exports
from collect_records import collect_records
from measure_sweep import measure_sweep
from sdbench.export.exported import exported_beside
from sdbench.measure.context import make_context
from sdbench.models.manifest import check_model, describe
from sdbench.records.image_archive import read_images, save_images
from sdbench.records.record import is_reusable, read_indexed, record_path, write_image, write_index
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import read_json, sha256_of_all, write_json
from sdbench.tables import schemas
from sdbench.tables.files import read_table, write_table
from tests.faults.conftest import SHORT
from tests.reliability import Tally
from tests.sweeps import given
from tests.sweeps import make_case as tiny_case
from tests.unit.records_factory import OPERATIONS, make_case, make_peaks, make_record
from tests.unit.tables_factory import SHAPES, latency_row, write_rows

Damage = Callable[[bytes], bytes]

CUT: dict[str, Damage] = {
    "emptied": lambda _: b"",
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut at the end": lambda content: content[:-3],
    "a bit flipped": lambda content: flip(content, len(content) // 2),
    "zeros in the middle": lambda content: zero(content),
}


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def zero(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + b"\0" * 16 + content[middle + 16 :]


def raise_number(content: bytes) -> bytes:
    """What a person would do: one digit of one number is another, all else stays right."""
    numbers = [i for i, byte in enumerate(content) if chr(byte) in "12345678"]
    at = numbers[len(numbers) // 2]
    return content[:at] + bytes([content[at] + 1]) + content[at + 1 :]


EDITED = CUT | {"a digit changed": raise_number}


def refused(
    tally: Tally, what: str, path: Path, damages: Mapping[str, Damage], read: Callable[[], Any]
) -> None:
    """Damage a file in every way: reading it is refused in a line with its name and the remedy."""
    sound = path.read_bytes()
    for name, damage in damages.items():
        with tally.fault(f"damaged: {what}"):
            path.write_bytes(damage(sound))
            with pytest.raises(UserError) as caught:
                read()
            line = str(caught.value)
            assert "\n" not in line, name
            assert path.name in line, name
            assert "delete" in line and "run" in line, name
    path.write_bytes(sound)
    read()


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two records with their images, indexed; the folder that holds them."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    folder = tmp_path / "shapes/cpu/pytorch"
    cases = [make_case(1), make_case(1, "bf16")]
    for case in cases:
        generated = write_image(folder, case, image)
        write_json(record_path(folder, case), make_record(case, image=generated))
    write_json(folder / "reference.json", {"start_s": [0.1] * 3, "end_s": [0.1] * 3})
    write_index(folder, cases, [])
    write_json(tmp_path / "cpu.json", make_peaks({"fp32": 100.0}))
    write_json(tmp_path / "shapes" / "64x64.json", OPERATIONS)
    return folder


def collect(folder: Path) -> None:
    above = folder.parents[2]
    outputs = ("results", "largest", "peak_throughput", "noise")
    collect_records(
        indexes=[folder / "index.json"],
        device_peaks=[above / "cpu.json"],
        model_operations=[above / "shapes" / "64x64.json"],
        prices={"cpu": 0},
        currency="USD",
        gate={"min_ssim": 0.9, "min_psnr_db": 20},
        **{name: above / f"{name}.csv" for name in outputs},
    )


def test_every_file_that_tables_are_made_of_is_refused_when_damaged(
    records: Path, tally: Tally
) -> None:
    record = record_path(records, make_case(1))
    files = {
        "a record": record,
        "the index": records / "index.json",
        "the machine's noise": records / "reference.json",
        "the peaks": records.parents[2] / "cpu.json",
        "the operations": records.parents[2] / "shapes" / "64x64.json",
    }
    for what, path in files.items():
        refused(tally, what, path, EDITED, lambda: collect(records))
    refused(
        tally, "an image of a record", record.with_suffix(".png"), CUT, lambda: collect(records)
    )


def test_a_damaged_record_is_measured_again(records: Path, tally: Tally) -> None:
    path = record_path(records, make_case(1))
    fingerprint = "0" * 64
    assert is_reusable(path, fingerprint)
    sound = path.read_bytes()
    for damage in EDITED.values():
        with tally.fault("damaged: a record that a sweep finds"):
            path.write_bytes(damage(sound))
            assert not is_reusable(path, fingerprint)


def test_a_record_whose_image_is_gone_or_damaged_is_measured_again(
    records: Path, tally: Tally
) -> None:
    path = record_path(records, make_case(1))
    image = path.with_suffix(".png")
    sound = image.read_bytes()
    for damage in CUT.values():
        with tally.fault("damaged: an image that a sweep finds"):
            image.write_bytes(damage(sound))
            assert not is_reusable(path, "0" * 64)
    image.unlink()
    assert not is_reusable(path, "0" * 64)


def test_a_damaged_archive_of_images_is_refused(tmp_path: Path, tally: Tally) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    steps = np.arange(1, 4)
    path = tmp_path / "none.npz"
    series = {"runs": images, "runs_steps": steps, "trajectory": images}
    save_images(path, "ok", "", **series, trajectory_steps=steps)
    refused(tally, "an archive of images", path, CUT, lambda: read_images(path))
    with tally.fault("damaged: an archive of images"):
        with np.load(path) as archive:
            entries = dict(archive)
        entries["runs"] = 255 - entries["runs"]
        np.savez(path, **entries)
        with pytest.raises(UserError, match="changed after it was written: delete it and run"):
            read_images(path)


def test_a_damaged_table_is_refused(tmp_path: Path, tally: Tally) -> None:
    path = tmp_path / "results.csv"
    rows = [latency_row(SHAPES, 0.25), latency_row(SHAPES, 0.5, batch_size=2)]
    write_rows(rows, path, schemas.RESULTS)
    lines = path.read_bytes().splitlines(keepends=True)
    damages = EDITED | {"a row removed": lambda _: b"".join(lines[:-1])}
    refused(tally, "a table", path, damages, lambda: read_table(path, schemas.RESULTS))


def test_a_damaged_record_of_an_export_or_its_networks_are_refused(
    tmp_path: Path, tally: Tally
) -> None:
    folder = tmp_path / "tiny/unet"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(bytes(range(256)) * 8)
    network = {
        "network": "unet",
        "status": "ok",
        "opset": 23,
        "parameters": 10,
        "max_abs_error": 1e-6,
        "max_rel_error": 1e-6,
        "tolerance": 1e-4,
        "file_bytes": 2048,
        "export_s": 1.5,
        "sha256": sha256_of_all(folder.glob("model.onnx*")),
    }
    record = tmp_path / "tiny.json"
    write_json(record, {"unet": network})

    def read() -> None:
        collect_exports([record], tmp_path / "exports.csv")
        try:
            exported_beside(record)
        except UserError as error:
            assert "delete" in str(error) and str(record) in str(error)
            raise UserError(f"model.onnx: {error}") from None

    refused(tally, "the record of an export", record, EDITED, read)
    refused(tally, "an exported network", folder / "model.onnx", CUT, read)


def sweep(model: Path, folder: Path, manifest: Path) -> None:
    case = tiny_case(1)
    job = make_context(given(folder, model, manifest), case.device, SHORT)
    measure_sweep([case.as_dict()], [], job)


def test_damaged_weights_are_noticed_before_anything_is_measured(
    model: Path, tmp_path: Path, tally: Tally
) -> None:
    manifest = model.with_suffix(".json")
    weights = model / "unet/diffusion_pytorch_model.safetensors"
    sound = weights.read_bytes()

    def reshape(_: bytes) -> bytes:
        tensors = load_file(weights)
        name = next(iter(tensors))
        tensors[name] = torch.zeros(3, 5)
        save_file(tensors, tmp_path / "reshaped", metadata={"format": "pt"})
        return (tmp_path / "reshaped").read_bytes()

    damages = CUT | {
        "one bit of one weight": lambda content: flip(content, len(content) - 2),
        "a tensor of another shape": reshape,
    }
    try:
        for damage in damages.values():
            with tally.fault("damaged: weights"):
                weights.write_bytes(damage(sound))
                with pytest.raises(UserError, match=r"damaged, or changed after") as caught:
                    sweep(model, tmp_path / "records", manifest)
                assert str(weights) in str(caught.value) and "delete" in str(caught.value)
                assert not (tmp_path / "records").exists()
                weights.write_bytes(sound)
    finally:
        weights.write_bytes(sound)
    check_model(model, manifest)


@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "vae/config.json"])
def test_broken_json_of_a_local_model_is_named_in_one_line(
    file: str, model: Path, tally: Tally
) -> None:
    path = model / file
    sound = path.read_bytes()
    try:
        for damage in (CUT["emptied"], CUT["cut in the middle"], lambda _: b"\xff\xfe{"):
            with tally.fault("damaged: a local model's JSON"):
                path.write_bytes(damage(sound))
                with pytest.raises(UserError, match=r"not .*JSON") as caught:
                    describe(model, {"local": str(model)}, "mine")
                assert str(path) in str(caught.value) and "download the model again" in str(
                    caught.value
                )
                path.write_bytes(sound)
    finally:
        path.write_bytes(sound)


def test_a_header_of_weights_that_lies_is_named_in_one_line(model: Path, tally: Tally) -> None:
    path = model / "unet/diffusion_pytorch_model.safetensors"
    sound = path.read_bytes()
    header = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 99]}}).encode()
    lying = struct.pack("<Q", len(header)) + header + b"\0" * 16
    try:
        for content in (b"", sound[:5], sound[:5000], b"\xff" * 4000, lying):
            with tally.fault("damaged: weights of a local model"):
                path.write_bytes(content)
                with pytest.raises(UserError, match="download it again") as caught:
                    describe(model, {"local": str(model)}, "mine")
                assert str(path) in str(caught.value)
    finally:
        path.write_bytes(sound)


def test_what_is_sound_is_read_back_as_it_was_written(records: Path) -> None:
    collect(records)
    read = read_indexed(records / "index.json")
    assert [record["status"] for _, record in read] == ["ok", "ok"]
    assert read_json(records / "reference.json") == {"start_s": [0.1] * 3, "end_s": [0.1] * 3}
    table = read_table(records.parents[2] / "results.csv", schemas.RESULTS)
    again = records.parents[2] / "again.csv"
    write_table(replace_nothing(table), again, schemas.RESULTS)
    assert again.read_bytes() == (records.parents[2] / "results.csv").read_bytes()


def replace_nothing(table: Any) -> Any:
    return table.copy()
