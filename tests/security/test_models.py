"""Nothing but weights in safetensors is read of a model, and no code of its own is run."""

import ast
import pickle
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sdbench.backends import load
from sdbench.cases.case import Case, Device, Variant
from sdbench.models.manifest import describe
from sdbench.models.planning import check_sources
from sdbench.runtime.errors import UserError
from tests.conftest import ROOT
from tests.e2e.hub_double import HubDouble, Repository
from tests.e2e.test_hub import REVISION, Fetch, stable_diffusion
from tests.fuzz.refusal import assert_one_line
from tests.reliability import Tally
from tests.security.hostile import ATTACKS, copy_shapes, module, pickled, surround
from tests.unit.records_factory import GENERATION


def test_the_trap_works(tmp_path: Path) -> None:
    """Else that no canary is there would mean nothing."""
    pickle.loads(pickled(tmp_path / "by a pickle"))
    exec(module(tmp_path / "by a module"))
    assert {path.name for path in tmp_path.iterdir()} == {"by a pickle", "by a module"}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_model_that_would_run_code_is_refused(name: str, tmp_path: Path, tally: Tally) -> None:
    attack, said = ATTACKS[name]
    folder, canary = copy_shapes(tmp_path / "model"), tmp_path / "canary"
    attack(folder, canary)
    with pytest.raises(UserError) as planned:
        check_sources({"mine": {"source": {"local": str(folder)}}}, ROOT, ROOT)
    assert_one_line(str(planned.value), "models.mine.source: ", said)
    with pytest.raises(UserError) as described:
        describe(folder, {"local": str(folder)}, "mine")
    assert_one_line(str(described.value), said)
    assert not canary.exists()
    tally.tried("models that would run code", "refused")


def test_what_lies_beside_the_weights_is_not_run(tmp_path: Path, tally: Tally) -> None:
    folder, canary = copy_shapes(tmp_path / "model"), tmp_path / "canary"
    surround(folder, canary)
    check_sources({"mine": {"source": {"local": str(folder)}}}, ROOT, ROOT)
    assert not [
        file for file in describe(folder, {"local": "x"}, "mine")["files"] if "evil" in file
    ]
    device = Device("cpu", threads=1)
    case = Case(Variant("mine", "cpu", "pytorch", "fp32", "none"), 1, GENERATION, device)
    engine = load(case, folder, None)
    assert engine.generate(GENERATION, engine.latents(GENERATION, 1)).shape == (1, 64, 64, 3)
    assert not canary.exists()
    tally.tried("models that would run code", "accepted")


def test_of_a_hub_only_what_is_read_is_fetched(tmp_path: Path, tally: Tally) -> None:
    """And nothing of what has pickles alone: test_hub.py."""
    canary = tmp_path / "canary"
    trap, code = pickled(canary), module(canary).encode()
    files = stable_diffusion() | {
        "evil.py": code,
        "unet/evil.py": code,
        "unet/diffusion_pytorch_model.bin": trap,
        "text_encoder/pytorch_model.bin": trap,
        "sd-v1-4.ckpt": trap,
    }
    evil = files | {
        "model_index.json": b'{"_class_name": "StableDiffusionPipeline", "unet": ["evil", "Evil"]}'
    }
    repositories = {
        "acme/sd": Repository(files, REVISION),
        "acme/evil": Repository(evil, REVISION),
    }
    with HubDouble(repositories) as hub:
        fetch = Fetch(tmp_path, hub.endpoint)
        assert fetch("acme/sd").returncode == 0
        tally.tried("models that would run code", "accepted")
        assert fetch("acme/evil").returncode == 1
        (line,) = fetch.log.read_text().splitlines()[-1:]
        assert line.startswith("error: ")
        assert_one_line(line, "unet: found ['evil', 'Evil']")
        tally.tried("models that would run code", "refused")
        asked = [request.path for request in hub.requests if "/resolve/" in request.path]
        assert asked
        assert not [path for path in asked if path.endswith((".bin", ".ckpt", ".py"))]
    assert not list(fetch.folder.rglob("evil*"))
    assert not canary.exists()


def test_a_graph_reads_no_file_outside_its_folder(tmp_path: Path, tally: Tally) -> None:
    """ONNX Runtime's own check, on which this project relies."""
    (tmp_path / "secret").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "../secret", "offset": "0", "length": "16"}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in ("x", "y")]
    node = helper.make_node("Add", ["x", "weight"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "model.onnx").write_bytes(model.SerializeToString())
    file = str(tmp_path / "graph" / "model.onnx")
    with pytest.raises(Exception, match=r"(?i)external data path|escape|outside"):
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match=r"(?i)external data|outside|\.\."):
        onnx.load(file)
    tally.tried("models that would run code", "refused")


def test_no_code_of_ours_reads_a_pickle_or_runs_a_shell() -> None:
    """Every call that could is looked up in the code itself."""
    for file in [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            where = f"{file.name}:{node.lineno}: {called}"
            assert called not in ("eval", "exec", "os.system", "os.popen"), where
            assert not called.startswith(("pickle.", "joblib.", "dill.", "marshal.")), where
            assert called not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") or (
                "Loader" in ast.unparse(node) and "Full" not in ast.unparse(node)
            ), where
            assert given.get("shell", "False") == "False", where
            assert given.get("trust_remote_code", "False") == "False", where
            if called == "torch.load":
                assert given.get("weights_only") == "True", where
            if called == "np.load":
                assert given.get("allow_pickle", "False") == "False", where
            if called.endswith("Pipeline.from_pretrained"):
                assert given.get("use_safetensors") == "True", where
