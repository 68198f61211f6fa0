"""The matrix is data: no case is lost, none is there twice, and absence has a reason."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.case import Case, Device, Variant, measured_device, why_absent
from sdbench.cases.expansion import RunConfig, expand_matrix, expand_quality
from sdbench.cases.kinds import KINDS
from sdbench.cases.options import OPTIONS, Option, format_options, parse_options
from sdbench.config.check import Config
from tests.unit.records_factory import GENERATION


def test_batch_sizes_rise_within_a_variant(config: Config) -> None:
    config["matrix"][0]["batch_sizes"] = [8, 1, 4]
    cases, _ = expand_matrix(RunConfig.of(config))
    first = [c.batch_size for c in cases if c.variant == cases[0].variant]
    assert first == [1, 4, 8]


def test_the_device_is_part_of_the_identity() -> None:
    variant = Variant("m", "cpu", "pytorch", "fp32", "none")
    cases = [Case(variant, 1, GENERATION, Device("cpu", threads=threads)) for threads in (1, 2)]
    assert cases[0].id != cases[1].id


def test_where_a_cluster_finds_a_device_is_no_part_of_it() -> None:
    device = {"kind": "cuda", "gpu_model": "a100"}
    where = {"constraint": "ib", "cpus": 8, "exclusive": False, "price_per_hour": 1.5}
    assert measured_device(device | where) == Device("cuda", gpu_model="a100")


EXISTING = [
    "pytorch fp32 none cpu", "pytorch tf32 none cuda", "pytorch fp16 autocast cuda",
    "pytorch fp32 fused-qkv cpu", "pytorch fp32 int8-weights+compile cpu",
    "pytorch fp16 fp8-weights cuda", "pytorch fp32 nf4-weights+compile cpu",
    "pytorch fp32 vae-slicing+vae-tiling+compile cpu", "pytorch fp16 model-offload cuda",
    "pytorch fp16 group-offload xpu", "pytorch fp16 nf4-weights+model-offload cuda",
    "onnxruntime fp32 none cpu", "onnxruntime fp32 int8-weights+tuned cpu",
    "openvino fp32 none cpu", "openvino bf16 int8-weights+tuned cpu", "openvino fp16 none cpu",
    "onnxruntime fp32 tensorrt cuda", "onnxruntime tf32 tensorrt cuda",
    "pytorch bf16 autocast mps", "pytorch fp16 channels-last xpu",
]  # fmt: skip
ABSENT = {
    "pytorch tf32 none cpu": "TF32",
    "pytorch tf32 autocast cuda": "TF32",
    "pytorch fp32 attention-vanilla+attention-sliced cpu": "exclude",
    "pytorch fp32 attention-vanilla+fused-qkv cpu": "fused-qkv uses SDPA",
    "pytorch fp32 attention-sliced+fused-qkv cuda": "fused-qkv uses SDPA",
    "pytorch fp16 int8-weights+fp8-weights cuda": "only one format",
    "pytorch fp32 model-offload cpu": "a CPU uses the host memory",
    "pytorch fp16 group-offload mps": "Apple GPUs share the host memory",
    "pytorch fp16 model-offload+group-offload cuda": "need fixed addresses",
    "pytorch fp16 model-offload+compile cuda": "need fixed addresses",
    "pytorch fp16 nf4-weights+group-offload cuda": "cannot offload the NF4 weights",
    "onnxruntime fp32 vae-tiling cpu": "option of pytorch",
    "pytorch bf16 fp8-weights cpu": "fp8 needs a CUDA GPU",
    "onnxruntime bf16 none cpu": "no kernels for products in bf16",
    "onnxruntime fp16 none cpu": "casts to fp32",
    "onnxruntime fp32 int8-weights cuda": "int8-weights of onnxruntime runs only on cpu",
    "onnxruntime fp32 tuned cuda": "tuned of onnxruntime runs only on cpu",
    "onnxruntime fp32 int8-weights+tensorrt cuda": "that only ONNX Runtime has",
    "onnxruntime fp32 tensorrt+tuned cuda": "no settings search for TensorRT",
    "openvino tf32 none cpu": "TF32 is a mode of CUDA",
    "openvino fp32 none cuda": "openvino does not run on kind cuda",
    "openvino fp32 none xpu": "Intel GPUs could not be tested",
    "openvino fp32 compile cpu": "option of pytorch, not of openvino",
    "pytorch fp32 tuned cpu": "its settings are separate options",
    "onnxruntime fp16 tensorrt cuda": "exported in fp32",
    "onnxruntime fp32 tensorrt cpu": "TensorRT runs only on CUDA GPUs",
    "onnxruntime fp32 none mps": "kind mps",
    "onnxruntime fp32 none xpu": "kind xpu",
    "pytorch fp32 tensorrt cuda": "option of onnxruntime, not of pytorch",
    "pytorch tf32 none mps": "TF32",
    "pytorch tf32 none xpu": "TF32",
}
"""Backend, precision, options and kind of device; and why there is no such variant."""


@pytest.mark.parametrize("cell", [*EXISTING, *ABSENT])
def test_absence_has_its_reason(cell: str) -> None:
    *variant, kind = cell.split()
    found = why_absent(Variant("m", "d", *variant), kind)
    assert found is None if cell in EXISTING else ABSENT[cell] in str(found)


def test_the_schema_has_what_backends_and_options_have(schema: dict[str, Any]) -> None:
    assert schema["$defs"]["backend"]["enum"] == list(BACKENDS)
    precisions = schema["$defs"]["precision"]["enum"]
    assert {p for backend in BACKENDS.values() for p in backend.precisions} == set(precisions)
    assert {kind for backend in BACKENDS.values() for kind in backend.kinds} == set(KINDS)
    for option in OPTIONS.values():
        assert set(option.no_precision) <= set(precisions)
        for backend, kinds in option.backends.items():
            assert set(kinds) <= set(KINDS) and backend in BACKENDS


def test_what_others_have_and_one_lacks_has_its_reason() -> None:
    for backend in BACKENDS.values():
        assert set(backend.kinds) == set(KINDS) or backend.no_kind
        assert len(backend.precisions) == 4 or backend.no_precision
    for option in OPTIONS.values():
        everywhere = all(kinds == BACKENDS[b].kinds for b, kinds in option.backends.items())
        assert everywhere != bool(option.no_kind)
        assert all(option.excluded().values())


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_options_exclude_each_other(option: Option) -> None:
    for other, reason in option.excluded().items():
        assert OPTIONS[other].excluded()[option.name] == reason
        variant = Variant("m", "d", "pytorch", "fp32", format_options([option.name, other]))
        assert str(why_absent(variant, "cuda")).endswith(f"exclude each other: {reason}")


@pytest.mark.parametrize("text", ["none", *OPTIONS, "autocast+tuned", "+".join(OPTIONS)])
def test_the_schema_takes_options(text: str, schema: dict[str, Any]) -> None:
    assert Draft202012Validator(schema["$defs"]["option"]).is_valid(text)
    for other in ("", "fast", "none+autocast", f"+{text}", f"{text}+", f"{text}\n", f"{text}tuned"):
        assert not Draft202012Validator(schema["$defs"]["option"]).is_valid(other)


@pytest.mark.parametrize("text", ["autocast+autocast", "fast", "", "none+autocast"])
def test_other_options_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="option"):
        parse_options(text)


@pytest.mark.parametrize(
    ("backend", "options", "attention", "graphs"),
    [
        ("pytorch", "none", "sdpa", None),
        ("pytorch", "autocast+int8-weights", "sdpa", None),
        ("pytorch", "autocast+attention-sliced", "sliced", None),
        ("pytorch", "fused-qkv", "sdpa", None),
        ("onnxruntime", "none", "fused", "onnx"),
        ("onnxruntime", "int8-weights+tuned", "fused", "onnx-int8"),
        ("openvino", "tuned", "fused", "openvino"),
        ("openvino", "int8-weights", "fused", "openvino-int8"),
    ],
)
def test_attention_and_graphs_follow_from_backend_and_options(
    backend: str, options: str, attention: str, graphs: str | None
) -> None:
    variant = Variant("m", "d", backend, "fp32", options)
    assert (variant.attention, variant.graphs) == (attention, graphs)


def test_the_reference_is_not_compared_with_itself(config: Config) -> None:
    ((reference, others),) = expand_quality(RunConfig.of(config))
    assert reference == Variant("shapes", "cpu", "pytorch", "fp32", "none")
    assert [f"{other.backend} {other.precision}" for other in others] == [
        *("pytorch bf16", "onnxruntime fp32", "openvino fp32", "openvino bf16")
    ]
