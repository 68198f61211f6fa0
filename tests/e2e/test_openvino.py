"""OpenVINO: what it computes, what it says of itself, and what it refuses before any work."""

import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import openvino
import pytest
import torch

from convert_openvino import convert_openvino
from sdbench import backends
from sdbench.backends import openvino as backend
from sdbench.devices import platforms
from sdbench.export import parity
from sdbench.measure.compiling import compile_anew
from sdbench.measure.context import Graphs
from sdbench.runtime.errors import UnsupportedError
from sdbench.runtime.failures import FILES
from sdbench.runtime.files import read_json
from tests.conftest import run_python
from tests.e2e.conftest import run_here
from tests.sweeps import MEASURING, difference, generate, make_case, make_job, run

on_openvino = partial(make_case, backend="openvino")


@pytest.fixture(scope="module")
def graphs(model: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `fp32` and `int8`, and a record next to each."""
    folder = tmp_path_factory.mktemp("openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "run_in_subprocess", run_here)
        for name in ("fp32", "int8"):
            record = folder / f"{name}.json"
            convert_openvino(model, exported, folder / name, record, name == "int8", 1e-4)
    return folder


@pytest.mark.parametrize("shapes", ["static", "dynamic"])
def test_its_images_are_those_of_pytorch(shapes: str, model: Path, graphs: Path) -> None:
    torch_engine = backends.load(make_case(), model, None)
    engine = backends.load(on_openvino(), model, graphs / "fp32", {"shapes": shapes})
    assert engine.switches["shapes"] == shapes
    assert engine.compile_mode == ("static shapes" if shapes == "static" else None)
    for images in (1, 3, 1):
        assert difference(engine, torch_engine, images) < 1e-4
        assert difference(engine, engine, images) == 0


def test_nothing_is_copied_on_the_way_and_no_earlier_output_written_over(graphs: Path) -> None:
    graph: Any = backend.set_up(on_openvino(), graphs / "fp32", {}).open_graph("vae_decoder")
    latents = torch.zeros(1, 4, 8, 8)
    first = graph.run((1, 3, 64, 64), {"latents": latents})
    assert graph.request.get_output_tensor().data.ctypes.data == first.data_ptr()
    assert graph.request.get_input_tensor().data.ctypes.data == latents.data_ptr()
    kept = first.clone()
    second = graph.run((1, 3, 64, 64), {"latents": torch.ones(1, 4, 8, 8)})
    assert (first == kept).all()
    assert (first != second).any()


def test_compiling_is_counted_apart_for_each_batch_size(model: Path, graphs: Path) -> None:
    engine = backends.load(on_openvino(), model, graphs / "fp32")

    def compile_s(images: int) -> Any:
        _, compiled = compile_anew(
            lambda: generate(engine, images), engine.synchronize, engine.device
        )
        assert compiled["compile_cached"] is False
        return compiled["compile_s"]

    assert compile_s(1) > 0
    assert compile_s(1) == 0
    assert compile_s(2) > 0


def test_it_says_what_it_computes_in_and_with_which_settings(graphs: Path) -> None:
    settings = {"ENABLE_CPU_PINNING": False}
    switches = backend.set_up(on_openvino(), graphs / "fp32", settings).switches
    said = {name: switches[name] for name in ("execution_precision", "engine_threads", "streams")}
    assert said == {"execution_precision": "f32", "engine_threads": 1, "streams": 1}
    assert switches["execution_devices"] == ["CPU"]
    assert switches["plugin_version"].startswith("2026.")
    assert switches["plugin_device"]
    assert switches["cpu_pinning"] is False
    assert switches["settings"] == settings


def constants(folder: Path) -> dict[str, set[str]]:
    """Return the types of the weights of matrix products and of convolutions."""
    found: dict[str, set[str]] = {"MatMul": set(), "Convolution": set()}
    for node in openvino.Core().read_model(folder / "unet" / "model.xml").get_ops():
        if node.get_type_name() not in found:
            continue
        source = node.input_value(1).get_node()
        while source.get_type_name() in ("Multiply", "Convert", "Reshape", "Transpose"):
            source = source.input_value(0).get_node()
        if source.get_type_name() == "Constant":
            found[node.get_type_name()].add(source.get_element_type().to_string())
    return found


def test_weights_stay_fp32_but_for_those_that_are_asked_for(graphs: Path) -> None:
    assert constants(graphs / "fp32") == {"MatMul": {"f32"}, "Convolution": {"f32"}}
    assert constants(graphs / "int8") == {"MatMul": {"i8"}, "Convolution": {"f32"}}


def test_int8_weights_nearly_keep_the_image(model: Path, graphs: Path) -> None:
    plain = backends.load(on_openvino(), model, graphs / "fp32")
    engine = backends.load(on_openvino(options="int8-weights"), model, graphs / "int8")
    assert 0 < difference(plain, engine) < 0.05
    assert engine.switches["quantized_weights"] == "int8"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_that_the_processor_has_not_is_unsupported_before_anything_is_read(
    precision: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "computes_natively", lambda _: False)
    with pytest.raises(UnsupportedError, match=f"no instructions for {precision}"):
        backends.load(on_openvino(precision=precision), model, Path("nowhere"))


def test_a_precision_that_openvino_does_not_take_is_unsupported(
    model: Path, emulated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a hint for a hint, and computes in another."""
    compiled = SimpleNamespace(get_property={"INFERENCE_PRECISION_HINT": openvino.Type.f32}.get)
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *_: compiled)
    with pytest.raises(UnsupportedError, match="would compute in f32 instead of bf16"):
        backends.load(on_openvino(precision="bf16"), model, Path("nowhere"))


def test_an_operator_that_openvino_lacks_is_unsupported(
    model: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("NoSuchOperator", ["x"], ["y"], domain="elsewhere")
    graph = onnx.helper.make_graph([node], "unet", [value("x", 1, [1])], [value("y", 1, [1])])
    domains = [onnx.helper.make_opsetid(name, 1) for name in ("", "elsewhere")]
    strange = tmp_path / "onnx"
    shutil.copytree(exported, strange)
    onnx.save(onnx.helper.make_model(graph, opset_imports=domains), strange / "unet" / "model.onnx")
    monkeypatch.setattr(parity, "run_in_subprocess", run_here)
    record = tmp_path / "converted.json"
    convert_openvino(model, strange, tmp_path / "converted", record, False, 1e-4)
    unet = read_json(record)["unet"]
    assert unet["status"] == "unsupported"
    assert "NoSuchOperator" in unet["reason"]
    assert read_json(record)["text_encoder"]["status"] == "ok"
    with pytest.raises(UnsupportedError, match=r"OpenVINO cannot run the unet: .*NoSuchOperator"):
        backends.load(on_openvino(), model, tmp_path / "converted")


def test_without_openvino_every_case_is_unsupported(
    model: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("backends.openvino", "export.openvino_toolkit", "export.conversion"):
        monkeypatch.delitem(sys.modules, f"sdbench.{name}", raising=False)
    monkeypatch.delattr(backends, "openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(parity, "run_in_subprocess", run_here)
    record = tmp_path / "tiny.json"
    convert_openvino(model, exported, tmp_path / "tiny", record, False, 1e-4)
    assert "needs openvino" in read_json(record)["unet"]["reason"]
    assert (tmp_path / "tiny" / "unet" / FILES["unsupported"]).exists()
    graphs = {"openvino": Graphs(tmp_path / "tiny", "0" * 64)}
    (found,) = run(make_job(tmp_path / "records", model, MEASURING, graphs), on_openvino())
    assert found["status"] == "unsupported"
    assert found["reason"] == "openvino needs openvino, which is not installed"


REPORTS_NOTHING = """
import sys
from sdbench.export.openvino_toolkit import openvino
import nncf, openvino.tools.ovc
from nncf.telemetry import telemetry
openvino.convert_model
print(sys.modules["openvino_telemetry"], type(telemetry).__name__)
"""


def test_it_reports_nothing(tmp_path: Path) -> None:
    """In a process without pytest, whose presence NNCF takes as a reason to be silent."""
    done = run_python(REPORTS_NOTHING, HOME=str(tmp_path))
    assert done.stdout.split() == ["None", "MagicMock"], done.stderr
    assert not [path for path in tmp_path.rglob("*") if "intel" in str(path).lower()]
