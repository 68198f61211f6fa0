"""The training of `shapes` in miniature, and the bundled model as it is shipped."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

import score_shapes
from sdbench.models.shapes import training
from sdbench.models.shapes.networks import LENGTH, build_autoencoder, build_tokenizer
from sdbench.models.shapes.scenes import descriptions
from sdbench.runtime.errors import UserError
from train_shapes import train_shapes

MODEL = Path(__file__).parents[2] / "resources/models/shapes"
FIRST = training.Stage("autoencoder", 0, 4, 4, batch=4, peak_rate=2e-3)
SECOND = training.Stage("denoiser", 1, 6, 6, batch=4, peak_rate=2e-3)


@pytest.fixture(scope="module", autouse=True)
def few_scenes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, few in {"CALIBRATION": 8, "CHUNK": 8, "PASSES": 1}.items():
            patch.setattr(training, name, few)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and `loss.csv` of a training that was not stopped."""
    folder = tmp_path_factory.mktemp("trained")
    train_shapes(FIRST, SECOND, 0, folder / "checkpoints", folder / "model", folder / "loss.csv")
    return folder


def weights(model: Path) -> dict[Path, bytes]:
    return {file.relative_to(model): file.read_bytes() for file in model.rglob("*.safetensors")}


def test_a_stopped_training_ends_with_the_same_weights(trained: Path, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    training.autoencoder_training(FIRST, 0, checkpoints).run(stop_after=2)
    first = training.autoencoder_training(FIRST, 0, checkpoints)
    assert first.step == 2
    first.run()
    autoencoder = training.finished_autoencoder(first, 0)
    training.denoiser_training(SECOND, 0, autoencoder, checkpoints).run(stop_after=3)
    train_shapes(FIRST, SECOND, 0, checkpoints, tmp_path / "model", tmp_path / "loss.csv")

    assert len(weights(trained / "model")) == 3
    assert weights(tmp_path / "model") == weights(trained / "model")
    with (trained / "loss.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [(row["stage"], row["step"]) for row in rows]
    assert steps == [("autoencoder", "4"), ("denoiser", "6")]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    training.autoencoder_training(FIRST, 0, tmp_path).run(stop_after=1)
    with pytest.raises(UserError, match=r"autoencoder\.pt: found a checkpoint of other settings"):
        training.autoencoder_training(FIRST, 1, tmp_path)


def test_normalised_latents_give_the_same_images() -> None:
    torch.manual_seed(0)
    autoencoder = build_autoencoder().eval()
    images, _ = training.images_and_captions(FIRST.rng(0, 0), 8)
    with torch.no_grad():
        before = autoencoder.decode(training.encode(autoencoder, images)).sample
        training.normalise_latents(autoencoder, images)
        latents = training.encode(autoencoder, images)
        after = autoencoder.decode(latents).sample
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), rtol=0, atol=1e-4)


def test_times_cover_the_noise_schedule_and_prefer_its_noisy_half() -> None:
    times = training.noisy_times(FIRST.rng(0), 10_000)
    assert times.min() == 0 and times.max() == 999
    assert 0.6 < (times >= 500).double().mean() < 0.7


def test_bundled_tokenizer_is_the_one_that_is_built() -> None:
    bundled, built = CLIPTokenizer.from_pretrained(MODEL / "tokenizer"), build_tokenizer()
    assert bundled.model_max_length == LENGTH
    for text in [*(what.caption for what in descriptions()), "", "an astronaut, riding a horse"]:
        assert bundled(text).input_ids == built(text).input_ids
    assert len(bundled("a red circle on a blue background").input_ids) == 9


def test_bundled_model_is_small_and_whole_and_generates_its_captions(tmp_path: Path) -> None:
    files = [file for file in MODEL.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 12_000_000
    assert not {file.suffix for file in files} & {".bin", ".pt", ".ckpt", ".pkl"}
    scores, sheet = tmp_path / "scores.json", tmp_path / "images.png"
    score_shapes.score_shapes(MODEL, 30, 1, steps=20, guidance=4.0, scores=scores, sheet=sheet)
    assert scores.exists() and sheet.exists()


def test_a_model_that_generates_nothing_is_below_the_bars(trained: Path, tmp_path: Path) -> None:
    model, scores, sheet = trained / "model", tmp_path / "scores.json", tmp_path / "images.png"
    with pytest.raises(UserError, match=r"shape \d+\.\d% < 85%"):
        score_shapes.score_shapes(model, 5, 0, steps=2, guidance=4.0, scores=scores, sheet=sheet)
    assert scores.exists() and sheet.exists()
