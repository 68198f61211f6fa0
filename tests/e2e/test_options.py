"""Each option of PyTorch is in force, keeps the image, and is refused where it must be."""

import gc
import sys
import sysconfig
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch._inductor.config
from PIL import Image
from torch._dynamo.eval_frame import OptimizedModule
from torch._dynamo.utils import counters
from torch._inductor.runtime.triton_heuristics import CachingAutotuner

from sdbench import backends
from sdbench.backends import pytorch
from sdbench.backends.engine import Engine
from sdbench.cases.case import Case
from sdbench.cases.options import COMPILE, OPTIONS, VAE_TILING, Option, parse_options
from sdbench.devices.device import WEIGHTS
from sdbench.devices.platforms import set_tf32
from sdbench.measure import compiling
from sdbench.measure.compiling import compile_anew
from sdbench.measure.phases import time_phases
from sdbench.models.reading import read_folder
from sdbench.models.weights import ITEM_BYTES, weight_bytes
from sdbench.records.record import Record, read_record, record_path
from sdbench.runtime.errors import UnsupportedError
from tests.sweeps import GENERATION as TINY_GENERATION
from tests.sweeps import MEASURING, launch_of, make_job, run, statuses
from tests.sweeps import generate as generate_images
from tests.sweeps import make_case as tiny_case

CPU = torch.device("cpu")
GENERATION = TINY_GENERATION | {"height": 16, "width": 16}


@pytest.fixture(scope="module")
def model(least: Path) -> Path:
    return least


make_case = partial(tiny_case, generation=GENERATION)
generate = partial(generate_images, generation=GENERATION)


def load(model: Path, options: str = "none", precision: str = "fp32") -> Engine:
    return backends.load(make_case(1, options, precision), model, None)


def sweep(model: Path, folder: Path, *cases: Case, largest: int | None = None) -> list[Record]:
    return run(make_job(folder, model, MEASURING), *cases, largest=largest)


pytestmark = pytest.mark.usefixtures("emulated")


@pytest.fixture(scope="module")
def plain(model: Path) -> Any:
    """The image without options."""
    return generate(load(model))


EAGER = [
    option
    for option in OPTIONS.values()
    if option.name != COMPILE and not option.why_not("pytorch", "fp32", "cpu")
]
"""Those that a CPU has, but for the one that takes a minute and has tests below."""


@pytest.mark.parametrize("option", EAGER, ids=lambda option: option.name)
def test_an_option_changes_the_image_only_if_it_says_so(
    option: Option, model: Path, plain: Any
) -> None:
    difference = np.abs(plain - generate(load(model, option.name))).max()
    assert (difference > 1e-5) == option.changes_image
    assert difference < (0.5 if option.name == VAE_TILING else 0.05)


def test_quantized_weights_run_under_autocast(model: Path, plain: Any) -> None:
    assert np.abs(plain - generate(load(model, "autocast+int8-weights"))).max() < 0.1


def test_attention_is_the_one_that_was_asked_for(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fused projections keep PyTorch's own."""
    sdpa = torch.nn.functional.scaled_dot_product_attention
    calls = []

    def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(args[0].shape)
        return sdpa(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    asked = {
        "none": "AttnProcessor2_0",
        "fused-qkv": "FusedAttnProcessor2_0",
        "attention-vanilla": "AttnProcessor",
        "attention-sliced": "SlicedAttnProcessor",
    }
    shapes = {}
    for options, processor in asked.items():
        calls.clear()
        engine = load(model, options)
        generate(engine)
        networks = [engine.pipeline.unet]
        networks += [engine.pipeline.vae] if options in ("none", "fused-qkv") else []
        names = {type(p).__name__ for n in networks for p in n.attn_processors.values()}
        assert names == {processor}
        shapes[options] = calls.copy()
    assert shapes["fused-qkv"] == shapes["none"] != []


def test_quantized_weights_are_those_of_linear_layers(model: Path) -> None:
    engine = load(model, "channels-last+int8-weights")
    linear = [m for m in engine.pipeline.unet.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linear) > 5
    for layer in linear:
        weight: Any = layer.weight
        assert weight.qdata.dtype == torch.int8
        assert weight.qdata.shape == weight.shape
    convolutions = [m for m in engine.pipeline.unet.modules() if isinstance(m, torch.nn.Conv2d)]
    assert {c.weight.dtype for c in convolutions} == {torch.float32}
    assert engine.switches["quantized_weights"] == "int8"


def tensor_bytes(tensor: Any) -> int:
    """The bytes of a tensor, of one of torchao's by what it is made of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return int(tensor.nbytes)
    return sum(getattr(tensor, name).nbytes for name in tensor.__tensor_flatten__()[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("options", ["none", "int8-weights", "nf4-weights", "vae-tiling"])
def test_the_bytes_of_weights_are_known_from_their_shapes(
    options: str, precision: str, model: Path
) -> None:
    """To the byte, and before they are loaded: what fits is decided by them."""
    components = read_folder(model).components
    held = {
        name: sum(map(tensor_bytes, part.parameters()))
        for name, part in load(model, options, precision).pipeline.components.items()
        if isinstance(part, torch.nn.Module)
    }
    assert held == weight_bytes(components, precision, parse_options(options))
    assert {name: dtype.itemsize for name, dtype in WEIGHTS.items()} == ITEM_BYTES


def test_nf4_takes_four_bits_and_its_scales_an_eighth_of_one() -> None:
    """A layer that fills no blocks of it is left as it is."""
    layer, odd = torch.nn.Linear(320, 320, bias=False), torch.nn.Linear(9, 7)
    for one in (layer, odd):
        pytorch._find_quantizer("nf4-weights", "fp32", CPU)(one, device=CPU)
    bits = 8 * tensor_bytes(layer.weight) / layer.weight.numel()
    assert 4 < bits < 4.15
    assert type(odd.weight) is torch.nn.Parameter


def test_tiles_take_less_memory_than_the_whole_image(model: Path) -> None:
    """By the largest output of a layer: what a process holds varies by more than an image takes."""
    large = GENERATION | {"height": 128, "width": 128}
    largest = {}
    for options in ("none", "vae-tiling"):
        engine = backends.load(make_case(1, options, generation=large), model, None)
        sizes: list[int] = []
        for layer in engine.pipeline.vae.decoder.modules():
            layer.register_forward_hook(lambda *call, sizes=sizes: sizes.append(call[2].nbytes))
        engine.decode(large, engine.latents(large, 1))
        largest[options] = max(sizes)
    assert largest["vae-tiling"] < largest["none"] / 2


@pytest.mark.parametrize(("side", "tile"), [(16, 8), (64, 32), (256, 64), (72, 36)])
def test_a_tile_is_half_an_image_and_no_larger_than_the_vae_knows(
    side: int, tile: int, model: Path
) -> None:
    width = max(8, side // 16 * 8)
    generation = GENERATION | {"height": side, "width": width}
    engine = backends.load(make_case(1, "vae-tiling", generation=generation), model, None)
    assert engine.switches["vae_tile_px"] == tile
    image = engine.decode(generation, engine.latents(generation, 1))
    assert image.shape == (1, side, width, 3)


def test_a_vae_whose_tiles_cannot_be_set_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="a VAE of class object cannot be set"):
        pytorch._tile(object(), GENERATION)


@pytest.mark.parametrize(("options", "mapped"), [("none", True), ("int8-weights", False)])
def test_what_quantized_weights_were_made_of_is_let_go(
    options: str, mapped: bool, model: Path
) -> None:
    gc.collect()
    engine = load(model, options)
    assert (str(model / "unet") in Path("/proc/self/maps").read_text()) == mapped
    del engine


def test_quantized_weights_without_torchao_are_unsupported(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(UnsupportedError, match="int8-weights needs torchao"):
        load(model, "int8-weights")


@pytest.mark.parametrize(("capability", "runs"), [((8, 0), False), ((8, 9), True), ((9, 0), True)])
def test_fp8_needs_a_gpu_that_has_it(
    capability: tuple[int, int], runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA X")
    find = partial(pytorch._find_quantizer, "fp8-weights", "bf16", torch.device("cuda", 0))
    if not runs:
        with pytest.raises(UnsupportedError, match=r"8\.9 or higher; NVIDIA X has 8\.0"):
            find()
        return
    layer = torch.nn.Linear(32, 16)
    find()(torch.nn.Sequential(layer))
    weight: Any = layer.weight
    assert weight.qdata.dtype == torch.float8_e4m3fn


def test_a_missing_compiler_is_unsupported(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so are missing headers of Python."""
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        (record,) = sweep(model, tmp_path, make_case(1, "compile"))
    assert record["status"] == "unsupported"
    assert "torch.compile needs a C++ compiler" in record["reason"]
    assert "no-such-compiler" in record["reason"]
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(UnsupportedError, match=r"needs .*Python\.h, which is missing"):
        load(model, "compile")


def test_on_a_gpu_triton_and_a_c_compiler_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(pytorch, "has_triton", lambda: False)
    with pytest.raises(UnsupportedError, match=r"needs Triton"):
        pytorch._find_compiler(gpu)
    monkeypatch.setattr(pytorch, "has_triton", lambda: True)
    # ROCm's and Intel's packages have other names, and all a module of this one.
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__="3.9"))
    assert pytorch._find_compiler(gpu) == "triton 3.9"
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UnsupportedError, match="no gcc and no clang"):
        pytorch._find_compiler(gpu)


def test_what_a_compiled_network_returns_outlives_its_next_call(model: Path) -> None:
    """A CUDA graph writes to the same memory each time; here the network does."""
    engine = load(model, "compile")
    unet, vae = engine.pipeline.unet, engine.pipeline.vae
    assert isinstance(unet, OptimizedModule)
    assert isinstance(vae.decoder, OptimizedModule)
    # Timing its parts leaves it compiled.
    forward = unet.forward
    with torch.compiler.set_stance("force_eager"):
        phases, _ = time_phases(engine, GENERATION, engine.latents(GENERATION, 1))
    assert phases["denoiser_evaluations"] == 4
    assert unet.forward is forward
    assert "decode" not in vars(vae)
    same, too = torch.zeros(2), torch.zeros(2)
    unet._orig_mod.forward = lambda: (same.add_(1),)
    vae.decoder._orig_mod.forward = lambda: too.add_(1)
    with torch.compiler.set_stance("force_eager"):
        evaluated = [unet()[0], unet()[0]]
        decoded = [vae.decoder(), vae.decoder()]
    for first, second in (evaluated, decoded):
        assert first.tolist() == [1, 1]
        assert second.tolist() == [2, 2]


def test_int8_weights_are_refused_where_their_products_overflow(model: Path) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    layer = torch.nn.Linear(1280, 8, bias=False, dtype=torch.float16)
    inputs = 10 * layer.weight.detach()[:1].sign()
    quantize_(layer, Int8WeightOnlyConfig(set_inductor_config=False))
    assert not layer(inputs).isfinite().all(), "torchao scales first by now: drop the refusal"
    with pytest.raises(UnsupportedError, match="overflows in fp16"):
        pytorch._find_quantizer("int8-weights", "fp16", CPU)
    pytorch._find_quantizer("int8-weights", "bf16", CPU)


def test_autotuning_counts_as_compiling_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's autotuner runs in a kernel's first call, and torch does not tell of it."""

    def tune(self: Any) -> str:
        time.sleep(0.2)
        return "tuned"

    for name in compiling.TUNING:
        monkeypatch.setattr(CachingAutotuner, name, tune)
    kernel = object.__new__(CachingAutotuner)

    def call() -> None:
        time.sleep(0.1)
        for name in compiling.TUNING:
            assert getattr(kernel, name)() == "tuned"

    call_s, compiled = compile_anew(call, lambda: None, CPU)
    assert 0.4 <= compiled["compile_s"] < 0.6
    assert 0.1 <= call_s < 0.3
    assert CachingAutotuner.benchmark_all_configs is tune, "left as it was"


@pytest.mark.parametrize("on", [True, False])
def test_every_interface_to_tf32_says_the_same(on: bool) -> None:
    """The compiler's kernels for a GPU are chosen by the older one, which may refuse to answer; in
    torch 2.11 the general switch leaves convolutions of cuDNN on TF32."""
    try:
        set_tf32(on)
        backends: Any = torch.backends
        assert backends.cudnn.allow_tf32 is backends.cuda.matmul.allow_tf32 is on
        assert torch.get_float32_matmul_precision() == ("high" if on else "highest")
        for part in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn):
            assert part.fp32_precision == ("tf32" if on else "ieee")
    finally:
        set_tf32(False)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_autocast_wraps_weights_of_either_kind(precision: str, model: Path) -> None:
    engine = load(model, "autocast", precision)
    assert engine.autocast == torch.bfloat16
    assert engine.dtype == WEIGHTS[precision]
    products = []
    layer = next(m for m in engine.pipeline.unet.modules() if isinstance(m, torch.nn.Linear))
    layer.register_forward_hook(lambda _layer, _inputs, output: products.append(output.dtype))
    generate(engine)
    assert set(products) == {torch.bfloat16}


@pytest.fixture
def cold_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    with torch._inductor.config.patch(compile_threads=1):
        yield


@pytest.mark.slow
def test_compiling_is_counted_apart_and_once_for_each_shape(cold_cache: None) -> None:
    compiled = torch.compile(lambda x: (x.sin() + 1).cos(), dynamic=False)
    small, large = torch.zeros(3), torch.zeros(5)

    def anew(x: torch.Tensor) -> tuple[float, dict[str, Any]]:
        return compile_anew(lambda: compiled(x), lambda: None, torch.device("cpu"))

    call_s, first = anew(small)
    assert 0 < call_s < first["compile_s"]
    assert not first["compile_cached"]
    with torch.compiler.set_stance("fail_on_recompile"):
        compiled(small)
        with pytest.raises(RuntimeError, match="recompile"):
            compiled(large)
    _, second = anew(large)
    assert second["compile_s"] > 0
    _, again = anew(small)
    assert again["compile_cached"]


def test_a_compiled_case(model: Path, tmp_path: Path, cold_cache: None) -> None:
    plain, compiled = make_case(), make_case(1, "compile")
    records = sweep(model, tmp_path / "first", plain, compiled)
    assert statuses(records) == ["ok", "ok"], [r["reason"] for r in records]
    cold = [launch_of(r)["cold_start"] for r in records]
    assert cold[0]["compile_s"] is None and cold[0]["compile_cached"] is None
    assert cold[1]["compile_cached"] is False
    latency = launch_of(records[1])["latency"]
    longest = max(*latency["warmup_s"], *latency["samples_s"])
    assert cold[1]["compile_s"] > 3 * max(longest, cold[1]["first_call_s"])
    assert [r["environment"]["switches"]["compile_mode"] for r in records] == [None, "default"]
    assert records[1]["memory"]["loaded_bytes"] > records[0]["memory"]["loaded_bytes"]
    images = [
        np.asarray(Image.open(record_path(tmp_path / "first", case).with_suffix(".png")), int)
        for case in (plain, compiled)
    ]
    assert np.abs(images[0] - images[1]).max() <= 1
    (again,) = sweep(model, tmp_path / "second", compiled)
    assert launch_of(again)["cold_start"]["compile_cached"] is True
    assert launch_of(again)["cold_start"]["compile_s"] < cold[1]["compile_s"]
    assert read_record(record_path(tmp_path / "second", compiled)) == again


@pytest.mark.parametrize(
    "options",
    [
        "attention-vanilla+vae-slicing+compile",
        "attention-sliced+nf4-weights+compile",
        "fused-qkv+channels-last+int8-weights+compile",
        "vae-tiling+compile",
    ],
)
def test_every_option_can_be_compiled_as_one_graph(options: str, model: Path) -> None:
    """By a backend that translates nothing, which takes seconds; shapes recur from call to call."""
    plain, engine = load(model, options.removesuffix("+compile")), load(model, options)
    torch.compiler.reset()
    counters.clear()
    with torch.compiler.set_stance("default", force_backend="eager"):
        generate(engine, 2)
        graphs = counters["stats"]["unique_graphs"]
        image = generate(engine, 2)
    assert graphs >= 2
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]
    assert np.abs(image - generate(plain, 2)).max() < 1e-5


def test_each_batch_size_is_compiled_for_once_before_it_is_measured(
    model: Path, tmp_path: Path, eager_compiler: None
) -> None:
    """A search for the largest batch included."""
    cases = [make_case(n, "compile") for n in (1, 2)]
    records = sweep(model, tmp_path, *cases, largest=3)
    assert statuses(records) == ["ok"] * 3, [r["reason"] for r in records]
    assert [r["case"]["batch_size"] for r in records] == [1, 2, 3]
    assert len({launch_of(r)["cold_start"]["compile_s"] for r in records}) == 3
    one, two = (launch_of(r)["cold_start"] for r in records[:2])  # of one process
    assert one["first_call_s"] == two["first_call_s"]
    for record in records:
        launch = launch_of(record)
        slowest = max(*launch["latency"]["warmup_s"], *launch["latency"]["samples_s"])
        assert launch["cold_start"]["compile_s"] > slowest
