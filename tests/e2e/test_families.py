"""The tiny twin of every family goes the way of the real models: built, described, counted,
generated with, exported, and refused what it cannot have. test_default_workflow.py sees it
measured."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import yaml
from diffusers.models import embeddings
from torch._dynamo.utils import counters

from convert_openvino import convert_openvino
from sdbench import backends
from sdbench.backends.engine import (
    SCHEDULERS,
    Engine,
    check_images,
    describe_engine,
    to_8_bits,
)
from sdbench.cases.case import Case, Device, Variant, why_absent
from sdbench.cases.options import OPTIONS, SWITCHES, TENSORRT
from sdbench.measure.image_series import generate_runs, generate_trajectory
from sdbench.models.architectures import Architecture, load_architecture
from sdbench.models.configs import plain_configs
from sdbench.models.examples import denoiser_shapes, random_inputs
from sdbench.models.families import by_name, families, family_of
from sdbench.models.loading import load_network
from sdbench.models.manifest import describe, describe_unmade
from sdbench.models.operations import count_flop, count_work
from sdbench.models.reading import read_folder
from sdbench.models.room import least_components
from sdbench.models.seeded import kept_tensors, outline, outline_components
from sdbench.models.weights import device_bytes, weight_bytes
from sdbench.runtime.errors import UnsupportedError
from sdbench.runtime.files import read_json
from tests.conftest import ROOT
from tests.e2e.conftest import ARCHITECTURES, build_twin, export_to, run_freshly

TWINS = {
    "sdxl": "tiny-sdxl",
    "sd3.5-medium": "tiny-sd3",
    "flux.1-dev": "tiny-flux-dev",
    "flux.1-schnell": "tiny-flux-schnell",
    "pixart-sigma": "tiny-pixart-sigma",
    "z-image-turbo": "tiny-z-image",
}
"""Model at full size -> its tiny twin."""
PUBLISHED = {
    ("sd-v1", "text_encoder"): 123_060_480,
    ("sd-v1", "unet"): 859_520_964,
    ("sd-v1", "vae"): 83_653_863,
    ("sdxl", "text_encoder"): 123_060_480,
    ("sdxl", "text_encoder_2"): 694_659_840,
    ("sdxl", "unet"): 2_567_463_684,
    ("sdxl", "vae"): 83_653_863,
    ("sd3.5-medium", "text_encoder"): 123_650_304,
    ("sd3.5-medium", "text_encoder_2"): 694_659_840,
    ("sd3.5-medium", "text_encoder_3"): 4_762_310_656,
    ("sd3.5-medium", "transformer"): 2_469_663_936,
    ("sd3.5-medium", "vae"): 83_819_683,
    ("flux.1-dev", "text_encoder"): 123_060_480,
    ("flux.1-dev", "text_encoder_2"): 4_762_310_656,
    ("flux.1-dev", "transformer"): 11_901_408_320,
    ("flux.1-dev", "vae"): 83_819_683,
    ("flux.1-schnell", "transformer"): 11_891_178_560,
    ("pixart-sigma", "text_encoder"): 4_762_310_656,
    ("pixart-sigma", "transformer"): 610_856_096,
    ("pixart-sigma", "vae"): 83_653_863,
    ("z-image-turbo", "text_encoder"): 4_022_468_096,
    ("z-image-turbo", "transformer"): 6_154_908_736,
    ("z-image-turbo", "vae"): 83_819_683,
}
"""What each network's published weights are, in numbers: the entries say where that stands."""


def architecture_of(name: str) -> Architecture:
    return load_architecture(ARCHITECTURES / f"{name}.yaml")


@pytest.mark.parametrize(("model", "network"), PUBLISHED)
def test_a_network_is_as_large_as_the_published_one(
    model: str, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a table of positions the shape alone counts, and its sines take a quarter of a minute.
    monkeypatch.setattr(
        embeddings, "get_2d_sincos_pos_embed", lambda width, side, **_: torch.empty(side**2, width)
    )
    architecture = architecture_of(model)
    outline(architecture, network)  # refuses what is of another size than described
    assert architecture.networks[network].parameters == PUBLISHED[model, network]


def test_an_outline_is_of_the_components_that_are_built(twin: Path) -> None:
    """So that what is said of a model that was not made is what would be said of it."""
    architecture = architecture_of(twin.name)
    outlined = outline_components(architecture)
    assert outlined == read_folder(twin).components
    least = least_components(architecture)
    for options in ((), ("int8-weights",), ("nf4-weights",), ("model-offload",)):
        for precision in ("fp32", "bf16"):
            how = precision, options
            assert 0 < device_bytes(least, *how) <= device_bytes(outlined, *how)
    manifest = describe_unmade(outlined, {"seeded": twin.name, "seed": 0}, twin.name)
    described = describe(twin, {"seeded": twin.name, "seed": 0}, twin.name)
    assert manifest.keys() == described.keys()
    same = manifest.keys() - {"found", "files", "digest"}
    assert {key: manifest[key] for key in same} == {key: described[key] for key in same}
    numbers = {name: network.parameters for name, network in architecture.networks.items()}
    assert described["parameters"] == numbers


def test_weights_take_in_half_precision_what_is_said_of_them(twin: Path) -> None:
    """Part of T5 stays in fp32."""
    contents = read_folder(twin)
    loaded = {}
    for name in contents.family.networks:
        kept = kept_tensors(load_network(contents, name, torch.float16)).values()
        loaded[name] = sum(tensor.nbytes for tensor in kept)
    assert loaded == weight_bytes(contents.components, "fp16", ())


@pytest.mark.parametrize("model", TWINS)
def test_a_model_says_how_it_is_generated_with_and_where_it_is(model: str) -> None:
    """And the campaign of all models does so."""
    architecture = architecture_of(model)
    generation, published = architecture.generation, architecture.published
    assert generation is not None and published is not None
    assert generation.keys() == {"steps", "scheduler", "guidance", "height", "width"}
    assert generation["scheduler"] in architecture.family.schedulers
    assert SCHEDULERS[generation["scheduler"]].__name__ == architecture.scheduler["class"]
    assert published.keys() == {"hub", "revision", "licence", "gated"}
    assert len(published["revision"]) == 40
    preset = yaml.safe_load((ROOT / "config/presets/families-cuda.yaml").read_text())
    assert preset["models"][model]["generation"].items() >= generation.items()


def test_every_family_has_a_twin() -> None:
    twins = [load_architecture(path) for path in ARCHITECTURES.glob("tiny*.yaml")]
    assert {twin.pipeline for twin in twins} == families().keys()


@pytest.fixture(
    scope="module",
    params=[
        # But for the number for guidance, its networks are those of tiny-flux-dev.
        pytest.param(name, marks=[pytest.mark.slow] if name == "tiny-flux-schnell" else [])
        for name in TWINS.values()
    ],
)
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_twin(request.param, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def plain(twin: Path) -> Engine:
    """The twin without options; whoever changes it loads another."""
    return load(twin)


def make_case(twin: Path, options: str = "none", **generation: Any) -> Case:
    own = architecture_of(twin.name).generation
    assert own is not None
    variant = Variant(twin.name, "cpu", "pytorch", "fp32", options)
    whole = {"prompt": "a red circle", "seed": 0, **own, **generation}
    return Case(variant, 1, whole, Device("cpu", threads=1))


def load(twin: Path, options: str = "none", **generation: Any) -> Engine:
    return backends.load(make_case(twin, options, **generation), twin, None)


def generate(engine: Engine, case: Case, images: int = 1) -> Any:
    return engine.generate(case.generation, engine.latents(case.generation, images))


def test_what_is_counted_is_what_the_pipeline_computes(twin: Path) -> None:
    """The shapes that a family says its denoiser has are those that the pipeline gives it."""
    case, engine = make_case(twin), load(twin)  # for its hooks
    denoiser = getattr(engine.pipeline, engine.family.denoiser)
    evaluations: list[tuple[Any, Any]] = []
    hook = denoiser.register_forward_pre_hook(
        lambda _network, args, named: evaluations.append((args, named)), with_kwargs=True
    )
    texts: list[int] = []
    for name in engine.family.text_encoders:
        encoder = getattr(engine.pipeline, name)
        encoder.register_forward_pre_hook(
            lambda network, args, named: texts.append(
                count_work(type(network).forward, network, named.get("input_ids", *args[:1])).flop
            ),
            with_kwargs=True,
        )
    generate(engine, case)
    hook.remove()
    counted = count_flop(twin, case.generation)
    assert len(evaluations) == case.generation["steps"]
    args, named = evaluations[-1]
    assert count_work(denoiser, *args, **named).flop == counted["denoiser_flop"]
    assert sum(texts) == counted["text_encoder_flop"]
    one, two = (
        count_flop(twin, {**case.generation, "guidance": guidance})["denoiser_flop"]
        for guidance in (0.0, 4.0)
    )
    assert (two > 1.9 * one) == (engine.family.pipeline != "FluxPipeline")


def test_every_state_is_decoded_as_the_pipeline_does(twin: Path, plain: Engine) -> None:
    """And images over steps are those that are generated with so many."""
    case = make_case(twin)
    states: list[torch.Tensor] = []
    latents = plain.latents(case.generation, 2)
    images = plain.generate(
        case.generation, latents, on_step_end=lambda state: states.append(state.clone())
    )
    check_images(images)
    assert images.shape == (2, case.generation["height"], case.generation["width"], 3)
    assert np.array_equal(plain.decode(case.generation, states[-1]), images)
    alone = generate(plain, case)
    assert np.abs(alone - images[:1]).max() < 1e-4
    assert not np.allclose(images[0], images[1], atol=1e-3)
    trajectory = generate_trajectory(plain, case, 2)
    runs = np.stack(
        [image for image in generate_runs(plain, case, [1, 2], trajectory) if image is not None]
    )
    assert trajectory.shape == runs.shape
    assert np.array_equal(runs[-1], trajectory[-1])
    assert np.array_equal(to_8_bits(alone)[0], runs[-1])


def test_every_tokenizer_says_what_of_a_prompt_is_too_long(twin: Path, plain: Engine) -> None:
    short, long = (
        describe_engine(plain, make_case(twin, prompt=prompt))["prompt_tokens_cut"]
        for prompt in ("a red circle", "a " * 3000)
    )
    assert short == {}
    assert long.keys() == {*plain.family.tokenizers}


@pytest.mark.parametrize("switch", [s for s in SWITCHES if s != TENSORRT])
def test_a_switch_is_in_force_or_refused(
    switch: str, twin: Path, plain: Engine, emulated: None
) -> None:
    case = make_case(twin, switch)
    if why_absent(case.variant, "cpu") is not None:
        pytest.skip("no such case exists on a CPU")
    family = family_of(twin)
    if switch in family.unsupported:
        with pytest.raises(UnsupportedError, match=f"^{switch}: "):
            load(twin, switch)
        assert _cannot(switch, twin)
        return
    engine = load(twin, switch)
    if switch == "fused-qkv":
        denoiser = getattr(engine.pipeline, family.denoiser)
        assert any(getattr(module, "fused_projections", False) for module in denoiser.modules())
    eager: Any = contextlib.nullcontext()
    if switch == "compile":  # by a backend that translates nothing, which takes seconds
        torch.compiler.reset()
        counters.clear()
        eager = torch.compiler.set_stance("default", force_backend="eager")
    with eager:
        images = generate(engine, case, 2)
        graphs = counters["stats"]["unique_graphs"]
        assert np.array_equal(generate(engine, case, 2), images)
        if switch == "compile":
            assert graphs >= 2
            assert counters["stats"]["unique_graphs"] == graphs
    difference = np.abs(images - generate(plain, case, 2)).max()
    assert 0 < difference < 1.0 if OPTIONS[switch].changes_image else difference < 1e-4


def _cannot(switch: str, twin: Path) -> bool:
    """Tell whether diffusers fails at what a family says that it cannot have."""
    case, engine = make_case(twin), load(twin)
    denoiser = getattr(engine.pipeline, engine.family.denoiser)
    try:
        if switch == "attention-vanilla":
            denoiser.set_attn_processor(diffusers.models.attention_processor.AttnProcessor())
        elif switch == "attention-sliced":
            denoiser.set_attention_slice("auto")
        elif switch == "fused-qkv":
            denoiser.fuse_qkv_projections()
        generate(engine, case)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return True
    return False


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_scheduler_generates_or_is_refused(scheduler: str, twin: Path) -> None:
    family = family_of(twin)
    case = make_case(twin, scheduler=scheduler)
    if scheduler not in family.schedulers:
        with pytest.raises(
            UnsupportedError, match=f"generate images with the scheduler {scheduler}: it was"
        ):
            load(twin, scheduler=scheduler)
        return
    check_images(generate(load(twin, scheduler=scheduler), case))


def test_a_size_that_it_cannot_generate_is_refused(twin: Path) -> None:
    family = family_of(twin)
    if family.multiple == 8:
        assert generate(load(twin, width=72), make_case(twin, width=72)).shape == (1, 64, 72, 3)
        return
    with pytest.raises(UnsupportedError, match="width is a multiple of 16 pixels; found 72"):
        load(twin, width=72)


@pytest.fixture(scope="module")
def graphs(twin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders `onnx` and `openvino` of a family's exported networks, a record next to each."""
    folder = tmp_path_factory.mktemp("graphs")
    if family_of(twin).why_not_exported is None:
        run_freshly(export, twin, folder)
    else:
        export(twin, folder)
    return folder


def export(twin: Path, folder: Path) -> None:
    onnx, openvino = folder / "onnx", folder / "openvino"
    export_to(onnx, twin)
    convert_openvino(twin, onnx, openvino, openvino.with_suffix(".json"), False, 1e-4)


def test_exported_networks_generate_the_images_of_pytorch(
    twin: Path, plain: Engine, request: pytest.FixtureRequest
) -> None:
    if twin.name == "tiny-flux-schnell":
        pytest.skip("see `twin`")
    graphs: Path = request.getfixturevalue("graphs")
    case, family = make_case(twin), family_of(twin)
    if family.why_not_exported is not None:
        for engine in ("onnx", "openvino"):
            assert read_json(graphs / f"{engine}.json") == {}
            assert not any((graphs / engine).iterdir())
        case = replace(case, variant=replace(case.variant, backend="onnxruntime"))
        with pytest.raises(UnsupportedError, match=r"^onnxruntime cannot run .*exported:"):
            backends.load(case, twin, graphs / "onnx")
        return
    expected = generate(plain, case, 2)
    for backend, folder in (("onnxruntime", "onnx"), ("openvino", "openvino")):
        record = read_json(graphs / f"{folder}.json")
        assert list(record)[-2:] == [family.denoiser, "vae_decoder"]
        assert all(network["status"] == "ok" for network in record.values())
        own = replace(case, variant=replace(case.variant, backend=backend))
        found = generate(backends.load(own, twin, graphs / folder), own, 2)
        assert 0 < np.abs(found - expected).max() < 1e-4


def test_noise_for_a_graph_is_shaped_as_what_the_pipeline_gives(twin: Path, plain: Engine) -> None:
    """By names, too, which are those of the graph's inputs."""
    family = family_of(twin)
    if family.why_not_exported is not None:
        pytest.skip("no graph is made of it")
    generation = make_case(twin).generation
    configs = plain_configs(family, twin)
    for name in (family.denoiser, "vae"):
        whole = {k: v for k, v in plain.configs[name].items() if not k.startswith("_")}
        assert configs[name].items() >= whole.items()
    size = generation["height"], generation["width"]
    shapes = denoiser_shapes(family, configs, *size, family.passes(configs, generation["guidance"]))
    args, kwargs = plain.denoiser_inputs(generation, 1)
    given = by_name(dict(zip(shapes, args, strict=False)) | kwargs)
    for name, value in random_inputs(family, shapes).items():
        assert value.dtype == torch.float32
        assert tuple(value.shape) == (given[name].shape or (1,)), name


def test_weights_are_stored_as_the_published_ones(tmp_path: Path) -> None:
    halved, twin = (
        build_twin("tiny-flux-dev", tmp_path / stored, stored=stored) for stored in ("bf16", "fp32")
    )
    sizes = [(f / "vae/diffusion_pytorch_model.safetensors").stat().st_size for f in (halved, twin)]
    assert sizes[0] < 0.6 * sizes[1]
    check_images(generate(load(halved), make_case(halved)))


def test_the_table_of_positions_is_computed_and_not_generated(tmp_path: Path) -> None:
    """Stable Diffusion 3 has one in the file of its weights."""
    config = architecture_of("tiny-sd3").networks["transformer"].config
    fresh = diffusers.SD3Transformer2DModel(**config)
    read = load(build_twin("tiny-sd3", tmp_path)).pipeline.transformer
    assert torch.equal(read.pos_embed.pos_embed, fresh.pos_embed.pos_embed)
