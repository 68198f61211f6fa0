from pathlib import Path

import pandas as pd
import pytest

from sdbench.tables.files import read_table
from sdbench.tables.published import Condition, condition, model_family
from sdbench.tables.schemas import PUBLISHED

PATH = Path(__file__).parents[2] / "resources" / "published.csv"
CAMPAIGNS = {
    "lambda-2022-10": 58,
    "lambda-2023-01-xformers": 80,
    "lambda-2023-01-no-xformers": 96,
    "lambda-2023-01-h100-mig": 64,
    "diffusers-2023-03": 288,
    "onnxruntime-2023-02": 21,
    "fal-2023": 7,
    "apple-coreml-2022-11": 4,
    "apple-coreml-2023-07": 4,
    "diffusers-docs-para-attn": 1,
    "diffusers-torchao-2024": 7,
    "diffusion-fast-2023-12": 5,
    "edge-dit-4090-2026-08": 5,
    "edge-dit-h200-2026": 4,
    "flux-fast-2025": 1,
    "hf-blog-quantization-2025-05": 1,
    "onediff-2024": 38,
    "onnxruntime-2023-10": 49,
    "secourses-5090-2025-02": 7,
    "stability-sdxl-tensorrt": 8,
    "stability-sdxl-turbo-tensorrt": 2,
}
OF_THE_POST = [*CAMPAIGNS][:7]
"""Those of Stable Diffusion 1.x, as in the post of 2022, which the config may choose from."""
POST = {
    "model": "CompVis/stable-diffusion-v1-4",
    "width": 512,
    "height": 512,
    "steps": 50,
    "scheduler": "pndm",
    "guidance": 7.5,
}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return read_table(PATH, PUBLISHED)


def test_every_campaign_is_whole(table: pd.DataFrame) -> None:
    assert table["campaign"].value_counts().to_dict() == CAMPAIGNS


def test_known_numbers(table: pd.DataFrame) -> None:
    best = table[
        (table["campaign"] == "lambda-2022-10")
        & (table["device_name"] == "NVIDIA A100 80GB PCIe")
        & (table["precision"] == "fp16")
        & (table["batch_size"] == 28)
    ]
    wanted = {
        **{"images_per_minute": 26.3, "latency_s": 63.88, "options": "autocast"},
        **{"memory_bytes": 78.78e9, "memory_counter": "torch reserved after run"},
    }
    assert best[list(wanted)].to_dict("records") == [wanted]


def test_numbers_agree_with_each_other(table: pd.DataFrame) -> None:
    ok = table[table["status"] == "ok"]
    computed = 60 * ok["batch_size"].astype(float) / ok["latency_s"]
    # Published to two decimals.
    assert (computed - ok["images_per_minute"]).abs().max() < 0.06


def test_what_ran_out_of_memory_has_no_numbers(table: pd.DataFrame) -> None:
    oom = table[table["status"] == "oom"]
    assert len(oom) == 98
    assert oom[["latency_s", "images_per_minute", "memory_bytes"]].isna().all(axis=None)


def test_all_like_the_post_were_generated_at_one_size_and_guidance(table: pd.DataFrame) -> None:
    alike = table[table["campaign"].isin(OF_THE_POST)]
    assert set(alike["width"]) == set(alike["height"]) == {512}
    assert set(alike["guidance"]) == {7.5}
    assert {model_family(model) for model in alike["model"]} == {"Stable Diffusion v1"}


DEVICES = {
    "NVIDIA A100 80GB PCIe": True,
    "NVIDIA H100 PCIe": True,
    "NVIDIA RTX A5500": True,
    "NVIDIA GeForce RTX 4090": True,
    "NVIDIA V100": False,
    "NVIDIA T4": False,
    "Quadro RTX 8000": False,
    "AMD EPYC 7352 24-Core Processor": False,
}


def test_fp32_in_pytorch_alone_says_whether_convolutions_used_tf32(table: pd.DataFrame) -> None:
    single = table[(table["precision"] == "fp32") & (table["backend"] == "pytorch")]
    used = single.groupby("device_name")["tf32_convolutions"]
    assert used.nunique().loc[list(DEVICES)].eq(1).all()
    assert used.first().loc[list(DEVICES)].to_dict() == DEVICES
    rows = table[table["tf32_convolutions"]]
    for column, only in (("precision", "fp32"), ("backend", "pytorch"), ("device_kind", "cuda")):
        assert set(rows[column]) == {only}


def test_vae_slicing_of_2023_is_named(table: pd.DataFrame) -> None:
    rows = table[table["campaign"].str.startswith("lambda-2023")]
    sliced = rows["options"] == "vae-slicing"
    assert (sliced == (rows["batch_size"] > 16)).all()


def test_model_family() -> None:
    v1 = ("CompVis/stable-diffusion-v1-4", "runwayml/stable-diffusion-v1-5", "sd-v1-4", "sd-v1",
          "stable-diffusion-v1-4-mine")  # fmt: skip
    assert {model_family(model) for model in v1} == {"Stable Diffusion v1"}
    others = ["shapes", "sd-v15", "sdxl", "stable-diffusion-2-1"]
    assert [model_family(model) for model in others] == others


def test_condition_is_what_moves_time() -> None:
    own = condition({**POST, "model": "sd-v1", "scheduler": "PNDM", "guidance": 4.0})
    assert own == condition(POST)
    assert own == Condition("Stable Diffusion v1", 512, 512, 50, "pndm", True)
    others = {"model": "shapes", "width": 256, "height": 256, "steps": 30, "scheduler": "ddim",
              "guidance": 1.0}  # fmt: skip
    assert all(condition(POST | {name: value}) != own for name, value in others.items())
    # Z-Image takes a second prompt from the first bit of guidance on; nothing else does.
    for model, differ in (("Tongyi-MAI/Z-Image-Turbo", True), ("shapes", False)):
        none, some = (condition(POST | {"model": model, "guidance": g}) for g in (0.0, 0.5))
        assert (none != some) == differ
