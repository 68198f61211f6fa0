"""ONNX Runtime: that what is bound is where it lies, and which provider runs, without a GPU."""

import os
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import numpy as np
import onnx
import pytest
import torch

from sdbench import backends
from sdbench.backends import onnxruntime as backend
from sdbench.backends.engine import Engine
from sdbench.devices.platforms import Cuda
from sdbench.export.ort import onnxruntime
from sdbench.runtime.errors import UnsupportedError
from tests.conftest import run_python
from tests.sweeps import GENERATION, difference, generate, make_case

on_onnxruntime = partial(make_case, backend="onnxruntime")


def test_what_is_bound_gives_the_images_of_pytorch(model: Path, exported: Path) -> None:
    """The same binding as on a GPU, for real: only the addresses are of another memory."""
    plain, engine = (
        backends.load(make_case(), model, None),
        backends.load(on_onnxruntime(), model, exported),
    )
    for images in (1, 3, 1):
        assert difference(engine, plain, images) < 1e-4
    oblong = {**GENERATION, "height": 80, "width": 48}
    engine = backends.load(on_onnxruntime(generation=oblong), model, exported)
    assert np.abs(generate(engine, 1, oblong) - generate(plain, 1, oblong)).max() < 1e-4


@pytest.mark.parametrize(("height", "width"), [(72, 64), (64, 200)])
def test_a_side_that_the_graphs_cannot_halve_is_unsupported(
    height: int, width: int, model: Path, exported: Path
) -> None:
    """PyTorch pads what the UNet halves with a remainder; a graph ends in an error of shapes."""
    odd = {**GENERATION, "height": height, "width": width}
    with pytest.raises(UnsupportedError, match="is a multiple of 16"):
        backends.load(on_onnxruntime(generation=odd), model, exported)


def test_nothing_is_kept_of_its_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it opens a database of what it tells of its use, in the user's cache."""
    for name in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    assert run_python("import sdbench.export.ort", HOME=str(tmp_path)).returncode == 0
    assert not list(tmp_path.rglob("*onnxruntime*"))


def make_binding() -> Any:
    """ONNX Runtime's IOBinding, which takes what the real one takes and does nothing."""
    return create_autospec(onnxruntime.IOBinding, instance=True)


def test_a_tensor_is_bound_on_the_gpu_that_it_lies_on() -> None:
    binding = make_binding()
    sample, moment = torch.zeros(2, 4, 8, 8), torch.tensor([501])
    output = torch.empty(2, 4, 8, 8)
    inputs = {"sample": sample, "timestep": moment}
    backend.bind(binding, torch.device("cuda", 1), inputs, {"out_sample": output})
    assert [(*call.kwargs.values(),) for call in binding.mock_calls] == [
        ("sample", "cuda", 1, np.float32, (2, 4, 8, 8), sample.data_ptr()),
        ("timestep", "cuda", 1, np.int64, (1,), moment.data_ptr()),
        ("out_sample", "cuda", 1, np.float32, (2, 4, 8, 8), output.data_ptr()),
    ]


class Gpus:
    """Two GPUs and onnxruntime-gpu: the sessions that were made on them, and the providers that
    run, if not those that are asked for."""

    def __init__(self) -> None:
        self.sessions: list[Any] = []
        self.running: list[str] | None = None

    def make_session(self, file: Path, **settings: Any) -> Any:
        asked = [name for name, _ in settings["providers"]]
        session = Mock(settings=settings)
        session.attach_mock(make_binding(), "binding")
        session.io_binding.return_value = session.binding
        session.get_providers.return_value = self.running or [*asked, "CPUExecutionProvider"]
        session.get_outputs.return_value = [type("Output", (), {"name": "the output"})]
        self.sessions.append(session)
        return session


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    gpus = Gpus()
    found = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: found)
    monkeypatch.setattr(onnxruntime, "InferenceSession", gpus.make_session)
    for name, value in {"why_missing": None, "why_not": None, "name": "NVIDIA L4"}.items():
        monkeypatch.setattr(Cuda, name, lambda *_, value=value: value)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "of the user")
    return gpus


def loaded(
    model: Path, gpus: Gpus, precision: str = "fp32", options: str = "none"
) -> tuple[Engine, list[Any]]:
    case = on_onnxruntime(1, options, precision, kind="cuda", index=1)
    engine = backends.load(case, model, Path("graphs"))
    providers = list(engine.switches["providers"].items())
    assert len(gpus.sessions) == 3
    assert all(session.settings["enable_fallback"] == 0 for session in gpus.sessions)
    assert all(session.settings["providers"] == providers for session in gpus.sessions)
    return engine, providers


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", 0), ("tf32", 1)])
def test_the_cuda_provider_runs_on_the_configs_gpu(
    precision: str, tf32: int, model: Path, gpus: Gpus
) -> None:
    engine, providers = loaded(model, gpus, precision)
    assert providers == [("CUDAExecutionProvider", {"device_id": 1, "use_tf32": tf32})]
    assert engine.switches["provider"] == "CUDAExecutionProvider"
    # What diffusers makes, it makes where the first network says that it is.
    assert engine.device == engine.pipeline.device == torch.device("cuda", 1)


@pytest.fixture
def tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package of TensorRT 10, and a provider that is linked with it."""
    capi = tmp_path / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (capi / "libonnxruntime_providers_tensorrt.so").write_bytes(b"ELF\0libnvinfer.so.10\0")
    monkeypatch.setattr(onnxruntime, "__file__", str(capi.parent / "__init__.py"))
    package = types.ModuleType("tensorrt")
    package.__version__ = "10.16.1.11"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", package)
    return package


def test_another_tensorrt_than_the_provider_is_linked_with_is_unsupported(
    model: Path, gpus: Gpus, tensorrt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest one is installed by `pip install tensorrt`, and would not be found."""
    tensorrt.__version__ = "11.4.0.106"
    with pytest.raises(UnsupportedError, match=r"'tensorrt>=10,<11'; 11\.4\.0\.106 is installed"):
        loaded(model, gpus, "fp32", "tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UnsupportedError, match=r"needs TensorRT 10: .* it is not installed"):
        loaded(model, gpus, "fp32", "tensorrt")


def test_a_provider_that_names_no_tensorrt_is_unsupported(
    model: Path, gpus: Gpus, tensorrt: Any
) -> None:
    capi = Path(onnxruntime.__file__).parent / "capi"
    (capi / "libonnxruntime_providers_tensorrt.so").write_bytes(b"ELF")
    with pytest.raises(UnsupportedError, match=r"does not say which TensorRT it needs: .* PyPI"):
        loaded(model, gpus, "fp32", "tensorrt")


@pytest.mark.parametrize(("precision", "override"), [("fp32", "0"), ("tf32", None)])
def test_the_tensorrt_provider_comes_before_the_cuda_one(
    precision: str,
    override: str | None,
    model: Path,
    gpus: Gpus,
    tensorrt: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(
        backend, "_load_tensorrt", lambda: seen.append(os.environ.get("NVIDIA_TF32_OVERRIDE"))
    )
    engine, providers = loaded(model, gpus, precision, "tensorrt")
    assert [name for name, _ in providers] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert providers[0][1] == {"device_id": 1, "trt_fp16_enable": 0, "trt_engine_cache_enable": 0}
    # The provider has no option for TF32, and lets it in unless its libraries are told not to
    # before they are loaded.
    assert seen == [override]
    assert os.environ.get("NVIDIA_TF32_OVERRIDE") == override
    assert engine.switches["provider"] == "TensorrtExecutionProvider"


def test_a_call_waits_for_its_inputs_and_its_outputs(model: Path, gpus: Gpus) -> None:
    engine, _ = loaded(model, gpus)
    unet = engine.pipeline.unet
    unet.device = unet.graph.device = torch.device("cpu")  # there is no other memory here
    states = torch.zeros(2, 77, 32)
    (output,) = unet(torch.zeros(2, 4, 8, 8), torch.tensor(501), states)
    assert output.shape == (2, 4, 8, 8)
    *bound, ready, run, done = unet.graph.session.mock_calls[-7:]
    names = ["sample", "timestep", "encoder_hidden_states", "the output"]
    assert [call.kwargs["name"] for call in bound] == names
    assert bound[3].kwargs["buffer_ptr"] == output.data_ptr()
    calls = ["binding.synchronize_inputs", "run_with_iobinding", "binding.synchronize_outputs"]
    assert [ready[0], run[0], done[0]] == calls


@pytest.mark.parametrize("options", ["none", "tensorrt"])
def test_a_provider_that_is_not_installed_is_unsupported_before_loading(
    options: str, model: Path, gpus: Gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UnsupportedError, match=r"has no \w+; it has CPU.*onnxruntime-gpu"):
        loaded(model, gpus, "fp32", options)
    assert gpus.sessions == []


def test_a_provider_that_does_not_start_is_unsupported_and_not_replaced(
    model: Path, gpus: Gpus
) -> None:
    gpus.running = ["CPUExecutionProvider"]
    with pytest.raises(UnsupportedError, match="could not start its CUDAExecutionProvider"):
        loaded(model, gpus)
    assert len(gpus.sessions) == 1


def test_an_operator_without_a_kernel_is_unsupported(tmp_path: Path) -> None:
    """The CPU provider has none for a sigmoid in bf16, as for much else in it."""
    value, bf16 = onnx.helper.make_tensor_value_info, onnx.TensorProto.BFLOAT16
    node = onnx.helper.make_node("Sigmoid", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value("x", bf16, [1])], [value("y", bf16, [1])])
    opset = [onnx.helper.make_opsetid("", 20)]
    (tmp_path / "unet").mkdir()
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.save(model, tmp_path / "unet" / "model.onnx")
    runtime = backend.set_up(on_onnxruntime(), tmp_path, {})
    with pytest.raises(UnsupportedError, match=r"cannot run the unet: .*Sigmoid"):
        runtime.open_graph("unet")


def test_weights_in_8_bits_nearly_keep_the_image(
    model: Path, exported: Path, quantized: Path
) -> None:
    nodes = onnx.load(quantized / "unet" / "model.onnx", load_external_data=False).graph.node
    kinds = [node.op_type for node in nodes]
    assert kinds.count("MatMulInteger") > 5
    assert "Conv" in kinds and "ConvInteger" not in kinds
    plain = backends.load(on_onnxruntime(), model, exported)
    engine = backends.load(on_onnxruntime(options="int8-weights"), model, quantized)
    for name in ("quantized_weights", "quantized_activations"):
        assert engine.switches[name] == "int8"
    assert 0 < difference(engine, plain) < 0.1
