"""Files in results/ that were cut or changed by hand, and weights that were damaged."""

import contextlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from collect_records import collect_records
from measure_sweep import measure_sweep
from sdbench.export.exported import exported_beside
from sdbench.measure.context import make_context
from sdbench.models.manifest import check_model, describe
from sdbench.records.image_archive import read_images, save_images
from sdbench.records.record import Record, is_reusable, record_path, write_image, write_index
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import sha256_of_all, write_json
from sdbench.tables import schemas
from sdbench.tables.files import read_table
from tests.reliability import Tally
from tests.sweeps import SHORT, given, indexed
from tests.sweeps import make_case as tiny_case
from tests.unit.records_factory import OPERATIONS, make_case, make_peaks, make_record
from tests.unit.tables_factory import SHAPES, latency_row, write_rows

Damage = Callable[[bytes], bytes]
UNET = "unet/diffusion_pytorch_model.safetensors"


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def raise_number(content: bytes) -> bytes:
    """What a person would do: one digit of one number is another, all else stays right."""
    numbers = [i for i, byte in enumerate(content) if chr(byte) in "12345678"]
    at = numbers[len(numbers) // 2]
    return content[:at] + bytes([content[at] + 1]) + content[at + 1 :]


CUT: dict[str, Damage] = {
    "emptied": lambda _: b"",
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut at the end": lambda content: content[:-3],
    "a bit flipped": lambda content: flip(content, len(content) // 2),
    "zeros in the middle": lambda c: c[: len(c) // 2] + bytes(16) + c[len(c) // 2 + 16 :],
}
EDITED = CUT | {"a digit changed": raise_number}


@contextlib.contextmanager
def restored(path: Path) -> Iterator[bytes]:
    """Yield the content of a file that is about to be damaged, and give it back afterwards."""
    sound = path.read_bytes()
    try:
        yield sound
    finally:
        path.write_bytes(sound)


def refused(
    tally: Tally, what: str, path: Path, damages: Mapping[str, Damage], read: Callable[[], Any]
) -> None:
    """Damage a file in every way: reading it is refused in a line with its name and the remedy."""
    with restored(path) as sound:
        for name, damage in damages.items():
            with tally.fault(f"damaged: {what}"):
                path.write_bytes(damage(sound))
                with pytest.raises(UserError) as caught:
                    read()
                line = str(caught.value)
                assert "\n" not in line, name
                assert path.name in line, name
                assert "delete" in line and "run" in line, name
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
    write_json(folder / "reference.json", {"blocks": [[0.1] * 3]})
    write_index(folder, cases, [])
    write_json(tmp_path / "cpu.json", make_peaks({"fp32": 100.0}))
    write_json(tmp_path / "shapes" / "64x64.json", OPERATIONS)
    return folder


def collect(
    above: Path,
    indexes: Sequence[Path] = (),
    device_peaks: Sequence[Path] = (),
    model_operations: Sequence[Path] = (),
    graphs: Sequence[Path] = (),
) -> None:
    outputs = ("results", "largest", "peak_throughput", "noise", "exports")
    collect_records(
        indexes=indexes,
        device_peaks=device_peaks,
        model_operations=model_operations,
        graphs=graphs,
        quality_set=write_rows([], above / "quality_set.csv", schemas.QUALITY_SET),
        prices={"cpu": 0},
        currency="USD",
        gate={"min_ssim": 0.9, "min_psnr_db": 20},
        precision=0.02,
        **{name: above / f"{name}.csv" for name in outputs},
    )


def test_every_file_that_tables_are_made_of_is_refused_when_damaged(
    records: Path, tally: Tally
) -> None:
    record = record_path(records, make_case(1))
    above = records.parents[2]
    files = {
        "a record": record,
        "the index": records / "index.json",
        "the machine's noise": records / "reference.json",
        "the peaks": above / "cpu.json",
        "the operations": above / "shapes" / "64x64.json",
        "an image of a record": record.with_suffix(".png"),
    }

    def read() -> None:
        collect(
            above,
            indexes=[files["the index"]],
            device_peaks=[files["the peaks"]],
            model_operations=[files["the operations"]],
        )

    for what, path in files.items():
        damages = CUT if path.suffix == ".png" else EDITED
        refused(tally, what, path, damages, read)


@pytest.mark.parametrize(
    ("suffix", "what", "damages"), [(".json", "a record", EDITED), (".png", "an image", CUT)]
)
def test_a_damaged_record_or_image_is_measured_again(
    suffix: str, what: str, damages: Mapping[str, Damage], records: Path, tally: Tally
) -> None:
    record = record_path(records, make_case(1))
    assert is_reusable(record, "0" * 64)
    path = record.with_suffix(suffix)
    with restored(path) as sound:
        for damage in damages.values():
            with tally.fault(f"damaged: {what} that a sweep finds"):
                path.write_bytes(damage(sound))
                assert not is_reusable(record, "0" * 64)
    path.unlink()
    assert not is_reusable(record, "0" * 64)


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
        np.savez(path, **entries | {"runs": 255 - entries["runs"]})
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
        collect(tmp_path, graphs=[record])
        try:
            exported_beside(record)
        except UserError as error:
            assert "delete" in str(error) and str(record) in str(error)
            raise UserError(f"model.onnx: {error}") from None

    refused(tally, "the record of an export", record, EDITED, read)
    refused(tally, "an exported network", folder / "model.onnx", CUT, read)


def test_damaged_weights_are_noticed_before_anything_is_measured(
    model: Path, tmp_path: Path, tally: Tally
) -> None:
    manifest = model.with_suffix(".json")
    weights = model / UNET

    def sweep() -> Record:
        case = tiny_case(1)
        records = given(tmp_path / "records", model, manifest)
        job = make_context(records, case.device, SHORT)
        measure_sweep([case.as_dict()], [], job)
        (record,) = indexed(job)
        return record

    def reshape(_: bytes) -> bytes:
        tensors = load_file(weights)
        tensors[next(iter(tensors))] = torch.zeros(3, 5)
        return bytes(save(tensors, metadata={"format": "pt"}))

    damages = CUT | {
        "one bit of one weight": lambda content: flip(content, len(content) - 2),
        "a tensor of another shape": reshape,
    }
    for damage in damages.values():
        with tally.fault("damaged: weights"), restored(weights) as sound:
            weights.write_bytes(damage(sound))
            record = sweep()
            assert record["status"] == "error" and record["launches"] is None
            said = record["reason"]
            assert "damaged, or changed after" in said and str(weights) in said and "delete" in said
    check_model(model, manifest)


HEADER = json.dumps({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 99]}}).encode()
LYING = struct.pack("<Q", len(HEADER)) + HEADER + b"\0" * 16
NO_JSON: list[Damage] = [CUT["emptied"], CUT["cut in the middle"], lambda _: b"\xff\xfe{"]
NO_WEIGHTS: list[Damage] = [
    *(lambda content, end=end: content[:end] for end in (0, 5, 5000)),
    *(lambda _, lying=lying: lying for lying in (b"\xff" * 4000, LYING)),
]


@pytest.mark.parametrize(
    ("file", "what", "said", "damages"),
    [
        (name, "a local model's JSON", "not .*JSON.*download the model again", NO_JSON)
        for name in ("model_index.json", "unet/config.json", "vae/config.json")
    ]
    + [(UNET, "weights of a local model", "download it again", NO_WEIGHTS)],
)
def test_a_broken_file_of_a_local_model_is_named_in_one_line(
    file: str, what: str, said: str, damages: list[Damage], model: Path, tally: Tally
) -> None:
    path = model / file
    for damage in damages:
        with tally.fault(f"damaged: {what}"), restored(path) as sound:
            path.write_bytes(damage(sound))
            with pytest.raises(UserError, match=said) as caught:
                describe(model, {"local": str(model)}, "mine")
            assert str(path) in str(caught.value)
