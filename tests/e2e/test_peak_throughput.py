"""What a model computes, and what a device can do at best."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import CLIPTextConfig

import measure_peak_throughput as rule
from sdbench.cases.case import Device
from sdbench.cases.measuring import Watching
from sdbench.devices import platforms
from sdbench.devices.machine import processor_name
from sdbench.measure import peak_throughput as peaks
from sdbench.models import operations
from sdbench.models.architectures import load_architecture
from sdbench.models.described import COUNTED
from sdbench.models.families import families
from sdbench.models.hugging_face import diffusers
from sdbench.models.operations import count_flop
from sdbench.models.seeded import outline
from sdbench.models.tokenizer import byte_vocabulary
from sdbench.runtime.errors import UnsupportedError
from tests.conftest import ROOT
from tests.unit.clock import Clock

processors = diffusers.models.attention_processor

CPU = Device("cpu", threads=1)
WATCHING = Watching("warn", max_busy_cores=64, contention_wait_s=0)


def write_configuration(name: str, folder: Path) -> Path:
    """Write what is read of a model: the configuration of its networks, and no weights."""
    architecture = load_architecture(ROOT / f"resources/architectures/{name}.yaml")
    for network in ("unet", "vae"):
        outline(architecture, network).save_config(folder / network)
    config = CLIPTextConfig(**architecture.networks["text_encoder"].config)
    config.save_pretrained(folder / "text_encoder")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert not list(folder.rglob("*.safetensors"))
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_configuration("tiny", tmp_path_factory.mktemp("tiny"))


def generated(height: int, width: int, guidance: float = 1.0) -> dict[str, Any]:
    return {"prompt": "a circle", "height": height, "width": width, "guidance": guidance}


def test_stable_diffusion_takes_what_is_known_of_it(tmp_path: Path) -> None:
    flop = count_flop(write_configuration("sd-v1", tmp_path), generated(512, 512))
    assert flop["denoiser_flop"] == pytest.approx(0.803e12, rel=0.01)
    assert flop["vae_decoder_flop"] == pytest.approx(2.51e12, rel=0.01)
    # Twice the weights of its matrices for each of 77 tokens, and 1.6 % for its attention.
    matrices = 12 * (4 * 768**2 + 2 * 768 * 3072)
    attention = 12 * 2 * 2 * 77**2 * 768
    assert flop["text_encoder_flop"] == 77 * 2 * matrices + attention


def test_operations_follow_guidance_and_the_size_of_the_image(tiny: Path) -> None:
    one, two = (count_flop(tiny, generated(64, 64, guidance)) for guidance in (1.0, 4.0))
    assert two["text_encoder_flop"] == 2 * one["text_encoder_flop"]
    # All but what is made of the timestep, which is one for both prompts.
    assert 1.95 < two["denoiser_flop"] / one["denoiser_flop"] <= 2
    assert two["vae_decoder_flop"] == one["vae_decoder_flop"]
    # Convolutions follow the area; attention among pixels the square of it.
    wide = count_flop(tiny, generated(64, 128))
    assert wide["text_encoder_flop"] == one["text_encoder_flop"]
    assert 2 < wide["vae_decoder_flop"] / one["vae_decoder_flop"] < 2.1
    assert 2 < wide["denoiser_flop"] / one["denoiser_flop"] < 4


def test_what_a_network_computes_is_what_is_counted(tiny: Path) -> None:
    """Not of a network without numbers only: the real thing, on a processor, counts the same,
    whichever way attention is computed."""
    network = operations.make_network(families()["StableDiffusionPipeline"], "unet", tiny)
    latents, states = torch.zeros(1, 4, 8, 8), torch.zeros(1, 77, 32)
    wanted = count_flop(tiny, generated(64, 64))["denoiser_flop"]
    for processor in (processors.AttnProcessor(), processors.AttnProcessor2_0()):
        network.set_attn_processor(processor)
        assert operations.count_work(network, latents, 1, states).flop == wanted


def test_a_multiply_add_counts_as_two_and_weights_are_not_moved() -> None:
    layer = torch.nn.Linear(3, 5, bias=False)
    work = operations.count_work(layer, torch.zeros(7, 3), weights=layer.parameters())
    assert work.flop == work.products_flop == 2 * 7 * 3 * 5
    assert (work.moved, work.operators) == (7 * 3 + 7 * 5, 1)


def test_attention_is_one_operator_and_its_scores_are_told_separately() -> None:
    states = torch.zeros(1, 2, 16, 8)
    work = operations.count_work(
        lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x), states
    )
    assert work.attention_flop == work.flop == 2 * 2 * (2 * 16 * 16 * 8)
    assert (work.moved, work.operators) == (4 * states.numel(), 1)
    # Written by the first product, read by the second, and by softmax in between.
    assert work.scores_moved >= 4 * 2 * 16 * 16


def test_a_described_model_takes_what_its_folder_does(tmp_path: Path) -> None:
    folder = write_configuration("tiny", tmp_path)
    architectures = {"tiny": load_architecture(ROOT / "resources/architectures/tiny.yaml")}
    asked = [("tiny", 64, 128, 2), ("tiny", 64, 64, 1)]
    rows = operations.count_described(architectures, asked, byte_vocabulary())
    table = pd.DataFrame(rows)
    assert {*COUNTED} < {*table}
    for (height, width), guidance in (((64, 64), 1.0), ((128, 64), 4.0)):
        found = table[table["height"] == height].set_index("network")
        kinds = [f"{kind}_flop" for kind in ("products", "convolutions", "attention")]
        flop = found[kinds].sum(axis=1)
        wanted = count_flop(folder, generated(height, width, guidance))
        assert {f"{name}_flop": value for name, value in flop.items()} == wanted
    parameters = [n.parameters for n in architectures["tiny"].networks.values()]
    assert sorted(found["parameters"]) == sorted(parameters)


def test_the_best_product_of_all_sizes_is_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device on which a product of side n takes as long as `seconds` has it."""
    seconds = {512: 0.01, 1024: 0.02, 2048: 0.25}
    clock = Clock(monkeypatch, 0.0)

    def multiply(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
        assert left.shape == right.shape == out.shape
        assert left is not right
        assert torch.backends.fp32_precision == "ieee"  # type: ignore[attr-defined]
        clock.call_s = seconds[len(left)]
        clock.call()

    monkeypatch.setattr(torch, "mm", multiply)
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: torch.empty(shape, device="meta"))
    found = peaks.product_peak(torch.device("cpu"), "fp32")
    # 2048 took long: nothing larger was tried.
    assert list(found["samples_s"]) == ["512", "1024", "2048"]
    rates = {side: 2 * side**3 / s / 1e12 for side, s in seconds.items()}
    assert (found["side"], found["tflops"]) == (1024, pytest.approx(rates[1024]))
    for side, times in found["samples_s"].items():
        assert len(times) >= peaks.SAMPLES
        assert sum(times) >= peaks.DURATION_S
        assert times == pytest.approx([seconds[int(side)]] * len(times))


def test_the_best_convolution_of_all_sizes_and_layouts_is_the_peak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a device that takes half as long for what has its channels last."""
    seconds = {2: 0.01, 8: 0.02, 32: 0.2}
    clock = Clock(monkeypatch, 0.0)

    def convolve(image: torch.Tensor, kernel: torch.Tensor, padding: int) -> None:
        assert (padding, kernel.shape) == (1, (640, 640, 3, 3))
        last = image.is_contiguous(memory_format=torch.channels_last)
        assert kernel.is_contiguous(memory_format=torch.channels_last) == last
        clock.call_s = seconds[len(image)] / (2 if last else 1)
        clock.call()

    monkeypatch.setattr(torch, "conv2d", convolve)
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: torch.empty(shape, device="meta"))
    found = peaks.convolution_peak(torch.device("cpu"), "fp32")
    # 32 took long: no more were tried.
    assert list(found["samples_s"]) == ["2", "8", "32"]
    wanted = 8 * 2 * 9 * 640**2 * 32**2 / 0.01 / 1e12
    assert (found["images"], found["tflops"]) == (8, pytest.approx(wanted))
    for images, times in found["samples_s"].items():
        assert len(times) >= 2 * peaks.SAMPLES
        assert sum(times) >= 2 * peaks.DURATION_S
        assert {round(seconds[int(images)] / time) for time in times} == {1, 2}


def test_a_real_product_a_real_convolution_and_a_real_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "SIDES", (64, 128))
    monkeypatch.setattr(peaks, "DURATION_S", 0.01)
    monkeypatch.setattr(peaks, "COPIED_BYTES", 2**20)
    product = peaks.product_peak(torch.device("cpu"), "fp32")
    best = min(product["samples_s"][str(product["side"])])
    assert product["tflops"] == 2 * product["side"] ** 3 / best / 1e12
    monkeypatch.setattr(peaks, "IMAGES", (1, 2))
    monkeypatch.setattr(peaks, "CHANNELS", 8)
    convolution = peaks.convolution_peak(torch.device("cpu"), "fp32")
    best = min(convolution["samples_s"][str(convolution["images"])])
    one = operations.count_work(
        torch.nn.Conv2d(8, 8, 3, padding=1, bias=False), torch.zeros(1, 8, 32, 32)
    )
    flop = convolution["images"] * one.flop
    assert convolution["tflops"] == pytest.approx(flop / best / 1e12)
    copy = peaks.copy_peak(torch.device("cpu"))
    # Read and written.
    assert copy["gb_per_s"] == 2 * 2**20 / min(copy["samples_s"][str(2**20)]) / 1e9


def test_an_emulated_precision_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a GPU: test_platforms.py."""
    monkeypatch.setattr(platforms, "computes_natively", lambda dtype: False)
    for peak in (peaks.product_peak, peaks.convolution_peak):
        with pytest.raises(UnsupportedError, match="no instructions for bf16"):
            peak(torch.device("cpu"), "bf16")


def measured(folder: Path, limit_s: float | None = None, **device: Any) -> dict[str, Any]:
    path = folder / "mine.json"
    rule.measure_peak_throughput("mine", replace(CPU, **device), WATCHING, path, limit_s=limit_s)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def statuses(found: dict[str, Any], *operations: str) -> list[tuple[str | None, str]]:
    """Return precision and status of each row, or of those of these operations."""
    return [
        (row["precision"], row["status"])
        for row in found["peaks"]
        if not operations or row["operation"] in operations
    ]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peaks at once, in two precisions."""

    def product(_: torch.device, precision: str) -> dict[str, Any]:
        if precision == "fp16":
            raise UnsupportedError("no fp16 here")
        if precision == "bf16":
            raise RuntimeError("it broke")
        return {"tflops": 0.5, "side": 512, "samples_s": {"512": [0.1]}}

    convolution = {"tflops": 0.6, "images": 2, "samples_s": {"2": [0.1]}}
    monkeypatch.setattr(rule, "product_peak", product)
    monkeypatch.setattr(rule, "convolution_peak", lambda *_: convolution)
    monkeypatch.setattr(rule, "copy_peak", lambda _: {"gb_per_s": 9.0, "samples_s": {}})


def test_what_fails_is_a_row_and_the_others_go_on(quick: None, tmp_path: Path) -> None:
    found = measured(tmp_path)
    rows = [("fp32", "ok"), ("fp16", "unsupported"), ("bf16", "error"), (None, "ok")]
    assert statuses(found, "matrix product", "memory copy") == rows
    assert statuses(found, "convolution") == [(name, "ok") for name in ("fp32", "fp16", "bf16")]
    assert found["peaks"][4]["reason"] == "RuntimeError: it broke"
    assert found["environment"]["threads"] == 1
    assert found["environment"]["device_name"] == processor_name()
    assert found["contention"]["contended"] is False


@pytest.mark.parametrize(
    ("sign", "reason"),
    [
        (signal.SIGKILL, "while it was measured the process ended with SIGKILL"),
        (signal.SIGSTOP, "timeout: while it was measured"),
    ],
)
def test_a_crash_or_a_hang_is_a_row_and_what_was_measured_is_kept(
    sign: signal.Signals,
    reason: str,
    quick: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rule, "copy_peak", lambda _: os.kill(os.getpid(), sign))
    found = measured(tmp_path, limit_s=10)
    assert statuses(found)[0] == ("fp32", "ok")
    assert statuses(found)[-1] == (None, "error")
    assert found["peaks"][-1]["reason"].startswith(reason)


def test_a_missing_device_has_no_peaks_and_a_reason(tmp_path: Path) -> None:
    found = measured(tmp_path, kind="cuda", index=99)
    precisions = ["fp32", "tf32", "fp16", "bf16", None]
    wanted = [(precision, "unsupported") for precision in precisions]
    assert statuses(found, "matrix product", "memory copy") == wanted
    assert "CUDA device 99" in found["peaks"][0]["reason"]
    assert found["environment"]["device_name"] is None


def test_another_gpu_than_promised_is_an_error(tmp_path: Path, rtx_3090: None) -> None:
    found = measured(tmp_path, kind="cuda", gpu_model="a100")
    assert {status for _, status in statuses(found)} == {"error"}
    assert "'a100'" in found["peaks"][0]["reason"]
