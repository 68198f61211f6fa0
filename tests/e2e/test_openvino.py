"""OpenVINO: what it computes, what it says of itself, and what it refuses before any work."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch

from convert_openvino import convert_openvino
from sdbench import backends
from sdbench.backends import openvino as backend
from sdbench.backends.engine import Engine
from sdbench.cases.capabilities import UNSUPPORTED
from sdbench.cases.case import Case, Variant
from sdbench.devices import platforms
from sdbench.export import parity
from sdbench.measure.compiling import compile_anew
from sdbench.measure.context import Graphs
from sdbench.measure.sweep import run_sweep
from sdbench.records.record import read_indexed
from sdbench.runtime.errors import UnsupportedError
from sdbench.runtime.files import read_json
from tests.conftest import ROOT
from tests.sweeps import GENERATION, MEASURING, make_case, make_job

NETWORKS = ["text_encoder", "unet", "vae_decoder"]


def run_here(work: Callable[..., None], *args: Any) -> list[Any]:
    """Replaces `run_in_subprocess`: threads that OpenVINO has started do not survive a fork."""
    sent: list[Any] = []
    work(sent.append, *args)
    return sent


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


def on_openvino(precision: str = "fp32", options: str = "none", **device: Any) -> Case:
    case = make_case(**device)
    variant = Variant("tiny", "cpu", "openvino", precision, options)
    return Case(variant, 1, case.generation, case.device)


def generate(engine: Engine, batch_size: int = 1) -> Any:
    return engine.generate(GENERATION, engine.latents(GENERATION, batch_size))


@pytest.mark.parametrize("shapes", ["static", "dynamic"])
def test_its_images_are_those_of_pytorch(shapes: str, model: Path, graphs: Path) -> None:
    torch_engine = backends.load(make_case(), model, None)
    engine = backends.load(on_openvino(), model, graphs / "fp32", {"shapes": shapes})
    assert engine.switches["shapes"] == shapes
    assert engine.compile_mode == ("static shapes" if shapes == "static" else None)
    for batch_size in (1, 3, 1):
        found = generate(engine, batch_size)
        assert np.abs(found - generate(torch_engine, batch_size)).max() < 1e-4
        assert (found == generate(engine, batch_size)).all()


def test_nothing_is_copied_on_the_way(graphs: Path) -> None:
    runtime = backend.set_up(on_openvino(), graphs / "fp32", {})
    graph: Any = runtime.open_graph("vae_decoder")
    latents = torch.zeros(1, 4, 8, 8)
    output = graph.run((1, 3, 64, 64), {"latents": latents})
    assert graph.request.get_output_tensor().data.ctypes.data == output.data_ptr()
    assert graph.request.get_input_tensor().data.ctypes.data == latents.data_ptr()


def test_what_was_generated_before_is_not_written_over(graphs: Path) -> None:
    graph = backend.set_up(on_openvino(), graphs / "fp32", {}).open_graph("vae_decoder")
    first = graph.run((1, 3, 64, 64), {"latents": torch.zeros(1, 4, 8, 8)})
    kept = first.clone()
    second = graph.run((1, 3, 64, 64), {"latents": torch.ones(1, 4, 8, 8)})
    assert (first == kept).all()
    assert (first != second).any()


def test_compiling_is_counted_apart_for_each_batch_size(model: Path, graphs: Path) -> None:
    engine = backends.load(on_openvino(), model, graphs / "fp32")

    def call(batch_size: int) -> float:
        _, compiled = compile_anew(
            lambda: generate(engine, batch_size), engine.synchronize, engine.device
        )
        assert compiled["compile_cached"] is False
        seconds: float = compiled["compile_s"]
        return seconds

    assert call(1) > 0
    assert call(1) == 0
    assert call(2) > 0


def test_it_says_what_it_computes_in(model: Path, graphs: Path) -> None:
    switches = backends.load(on_openvino(threads=1), model, graphs / "fp32").switches
    said = {name: switches[name] for name in ("execution_precision", "engine_threads", "streams")}
    assert said == {"execution_precision": "f32", "engine_threads": 1, "streams": 1}
    assert switches["execution_devices"] == ["CPU"]
    assert switches["plugin_version"].startswith("2026.")
    assert switches["plugin_device"]


def test_settings_reach_the_compiled_model(graphs: Path) -> None:
    settings = {"ENABLE_CPU_PINNING": False}
    runtime = backend.set_up(on_openvino(), graphs / "fp32", settings)
    assert runtime.switches["cpu_pinning"] is False
    assert runtime.switches["settings"] == settings


def test_the_converted_networks_agree_with_pytorch(graphs: Path) -> None:
    for name, bound in (("fp32", 1e-4), ("int8", None)):
        record = read_json(graphs / f"{name}.json")
        assert list(record) == NETWORKS
        assert {network["status"] for network in record.values()} == {"ok"}
        assert record["unet"]["tolerance"] == bound
        assert record["text_encoder"]["max_rel_error"] < record["text_encoder"]["tolerance"]
    assert 1e-4 < record["unet"]["max_rel_error"] < 0.1


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
    plain = generate(backends.load(on_openvino(), model, graphs / "fp32"))
    engine = backends.load(on_openvino(options="int8-weights"), model, graphs / "int8")
    assert 0 < np.abs(plain - generate(engine)).max() < 0.05
    assert engine.switches["quantized_weights"] == "int8"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_that_the_processor_has_not_is_unsupported_before_anything_is_read(
    precision: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "computes_natively", lambda _: False)
    with pytest.raises(UnsupportedError, match=f"no instructions for {precision}"):
        backends.load(on_openvino(precision), model, Path("nowhere"))


def test_a_precision_that_openvino_does_not_take_is_unsupported(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a hint for a hint, and computes in another."""

    class Compiled:
        def get_property(self, name: str) -> Any:
            return {"INFERENCE_PRECISION_HINT": openvino.Type.f32}[name]

    monkeypatch.setattr(platforms, "computes_natively", lambda _: True)
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *_: Compiled())
    with pytest.raises(UnsupportedError, match="would compute in f32 instead of bf16"):
        backends.load(on_openvino("bf16"), model, Path("nowhere"))


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
    for name in (
        "sdbench.backends.openvino",
        "sdbench.export.openvino_toolkit",
        "sdbench.export.conversion",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(backends, "openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(parity, "run_in_subprocess", run_here)
    record = tmp_path / "tiny.json"
    convert_openvino(model, exported, tmp_path / "tiny", record, False, 1e-4)
    assert "needs openvino" in read_json(record)["unet"]["reason"]
    assert (tmp_path / "tiny" / "unet" / UNSUPPORTED).exists()
    graphs = {"openvino": Graphs(tmp_path / "tiny", "0" * 64)}
    job = make_job(tmp_path / "records", model, MEASURING, graphs)
    run_sweep([on_openvino()], job, {})
    ((_, found),) = read_indexed(tmp_path / "records" / "index.json")
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
    env = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(
        [sys.executable, "-c", REPORTS_NOTHING],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout.split() == ["None", "MagicMock"], done.stderr
    assert not [path for path in tmp_path.rglob("*") if "intel" in str(path).lower()]
