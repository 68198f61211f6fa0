"""The config is complete or refused in one line that tells what to do."""

import re
from collections.abc import Callable
from dataclasses import fields
from math import nan
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.common.configfile import load_configfile

from sdbench.cases.case import Device, Variant, measured_device
from sdbench.cases.expansion import RunConfig, expand_matrix
from sdbench.cases.measuring import Measuring
from sdbench.config.check import Config, check_config, name_case
from sdbench.config.files import read_config_file
from sdbench.runtime.errors import UserError
from tests.conftest import BASE, ROOT

PRESETS = sorted((ROOT / "config" / "presets").glob("*.yaml"))


def overlay(base: Config, top: Config) -> Config:
    """Merge as Snakemake merges config files: mappings by key, everything else replaced."""
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlay(merged[key], value) if both else value
    return merged


Check = Callable[..., Config]


@pytest.fixture
def check(schema: dict[str, Any]) -> Check:
    """Checks a config that these files made, or the default's."""
    return lambda config, *files: check_config(config, schema, [*files] or [BASE])


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_and_have_cases(preset: Path, check: Check) -> None:
    default = ROOT / "config/config.yaml"
    merged = overlay(yaml.safe_load(default.read_text()), yaml.safe_load(preset.read_text()))
    cases, _ = expand_matrix(RunConfig.of(check(merged, default, preset)))
    assert cases


@pytest.mark.parametrize(
    "path",
    [*PRESETS, *sorted((ROOT / "benchmarks").rglob("*.yaml"))],
    ids=lambda path: path.stem,
)
def test_no_image_of_the_default_config_is_generated_by_another(path: Path) -> None:
    """What a config does not say is the default's: its sets of images would need every engine."""
    config = yaml.safe_load(path.read_text())
    models = {entry["model"] for entry in config["matrix"]}
    whole = overlay(yaml.safe_load((ROOT / "config/config.yaml").read_text()), config)
    assert {entry["model"] for entry in whole["quality"] + whole["quality_set"]} <= models


def test_the_ladder_with_the_search_is_the_ladder_and_what_is_tuned() -> None:
    """Two files, since no search fits into half an hour; they must not drift apart."""
    ladder, tuned = (
        yaml.safe_load((ROOT / f"config/presets/{name}.yaml").read_text())
        for name in ("cpu-ladder", "cpu-ladder-tuned")
    )
    added = tuned["races"].pop()
    assert tuned == ladder
    assert {variant["options"] for variant in added["variants"]} == {"tuned"}


def test_the_small_ladder_has_every_rung_of_the_one_at_full_size(config: Config) -> None:
    races = yaml.safe_load((ROOT / "config/presets/cpu-ladder.yaml").read_text())["races"]
    ladder = {tuple(variant.values()) for race in races for variant in race["variants"]}
    cases, _ = expand_matrix(RunConfig.of(config))
    assert ladder <= {(c.variant.backend, c.variant.precision, c.variant.options) for c in cases}


def test_defaults_are_filled_in_everywhere(config: Config) -> None:
    assert config["pathvars"] == {"results": "results"}
    assert measured_device(config["devices"]["cpu"]) == Device("cpu")
    assert {field.name for field in fields(Measuring)} == set(config["measuring"])
    assert config["export"]["opset"] == 23
    assert config["matrix"][2]["options"] == ["attention-vanilla", "attention-sliced"]
    assert config["matrix"][3]["options"] == ["none"]
    reference = config["quality"][0]["reference"]
    assert Variant("shapes", **reference) == Variant("shapes", "cpu", "pytorch", "fp32", "none")


BAD: list[tuple[str, Any, str, str]] = [
    ("modles", {}, "modles: unknown key", "did you mean `models`?"),
    ("measuring.Launch", 1, "measuring.Launch: unknown key", "did you mean `launches`?"),
    ("devices", "cuda", "devices: found 'cuda'", "`{name: {...}}`"),
    ("matrix.0.devices", "cpu", "matrix[0].devices: found 'cpu'", "`[name, ...]`"),
    ("matrix.0.precisions", "fp32", "matrix[0].precisions: found 'fp32', a text", "`[fp32]`"),
    ("models.shapes.source", {"hub": "a/b"}, "models.shapes.source: the key `rev", "add it"),
    ("models.shapes.generation.prompt", 42, "prompt: found 42, a whole number", "in quotes"),
    ("models.shapes.generation.height", 64.0, "height: found 64.0, a number", "a whole number"),
    ("models.shapes.generation.guidance", "7,5", "guidance: found '7,5', a text", "as 1.5"),
    ("matrix", [], "matrix: found []", "at least 1"),
    ("matrix", {"a": 1}, "matrix: found {'a': 1}, a mapping", "a list"),
    ("matrix.0.precisions", ["fp31"], "matrix[0].precisions[0]: found 'fp31'", "`bf16`"),
    ("matrix.0.model", "x", "matrix[0].model: 'x' is not defined", "`shapes`"),
    ("devices.CPU", {"kind": "cpu"}, "devices.C", "is `cpu` in other case"),
    ("matrix.0.devices", ["gpu"], "matrix[0].devices: 'gpu' is not defined", "`cpu`"),
    ("matrix.0.options", ["autocas"], "matrix[0].options[0]", "autocast"),
    ("matrix.0.options", ["autocast+autocast"], "matrix[0].options[0]: repeated option", "once"),
    ("matrix.0.batch_sizes", [0], "matrix[0].batch_sizes[0]: found 0", "1 or more"),
    ("matrix.0.batch_sizes", [1, 1], "matrix[0].batch_sizes", "without repeats"),
    ("devices.cpu.kind", "gpu", "devices.cpu.kind: found 'gpu'", "`cuda`"),
    ("devices", {"a/b": {"kind": "cpu"}}, "devices: found 'a/b'", "dots"),
    ("devices.cpu.gpu_model", "a100", "devices.cpu.gpu_model: found 'a100' on a CPU", "`cuda`"),
    ("devices.cpu.gpu_model", "a-100", "devices.cpu.gpu_model: found 'a-100'", "scheduler"),
    ("models.shapes", None, "models.shapes: found nothing", "a mapping"),
    ("models.shapes.source", {"loc": 1}, "models.shapes.source", "{hub: ..., revision: ...}"),
    ("models.shapes.generation.width", 65, "generation.width: found 65", "multiple of 8"),
    ("models.shapes.generation.scheduler", "x", "generation.scheduler", "`pndm`"),
    ("models.shapes.generation.guidance", nan, "guidance: found nan", "finite"),
    ("models.shapes.generation.seed", 2**64, "generation.seed: found", "64 bits"),
    ("models.shapes.generation.seed", 2**63 - 1, "generation.seed: found", "or less"),
    ("models.shapes.generation.prompt", "a\x07b", "generation.prompt: found", "UTF-8"),
    ("measuring.min_samples", True, "measuring.min_samples: found True", "whole number"),
    ("measuring.max_duration_s", 0, "measuring.max_duration_s: found 0", "more than 0"),
    ("pathvars", {"results": "res\n"}, "pathvars.results: found", "letters"),
    ("quality.0.runs", "some", "quality[0].runs: found 'some'", "`all`"),
    ("quality.0.reference", {"device": "x"}, "quality[0].reference.device: 'x'", "`cpu`"),
    ("quality.0.reference", {"device": "cpu", "precision": "tf32"},
     "quality[0].reference: found a variant that cannot exist: TF32", "another reference"),
]  # fmt: skip
"""A key, its value, and what the line says: where, and what is allowed."""


@pytest.mark.parametrize(("key", "value", "where", "allowed"), BAD, ids=[bad[2] for bad in BAD])
def test_a_wrong_config_is_refused_in_one_line(
    key: str, value: Any, where: str, allowed: str, raw_config: Config, check: Check, tmp_path: Path
) -> None:
    target: Any = raw_config
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    for part in parents:
        target = target[part]
    target[last] = value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(raw_config))
    with pytest.raises(UserError) as caught:
        check(raw_config, file)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{file}: ")
    assert where in message and allowed in message


YAML: list[tuple[str, Any]] = [
    ("export: {tolerance: 1e-3}", 0.001),
    ("export: {tolerance: 1E-3}", 0.001),
    ("devices: {cpu: {price_per_hour: 5e-1}}", 0.5),
    ("need: {memory_gb: 1e+1}", 10.0),
    ("campaign: 1e5", "1e5"),
    # As `--config "measuring={case_time_limit_s: 90}"` gives it.
    ("measuring: {case_time_limit_s: '90'}", 90),
    ("measuring: {launches: '3'}", 3),
    ("records_only: yes", True),
    ("measuring: {case_time_limit_s: 1_000}", 1000),
    ("\ufeffcurrency: EUR\r\n", "EUR"),
    ("published: [fal-2023,]", ["fal-2023"]),
    ("models: {shapes: {source: {local: ~/m}}}", f"{Path.home()}/m"),
    ("models: {shapes: {source: {local: $HOME/m}}}", f"{Path.home()}/m"),
    ("export: {opset: 023}", "line 1: found 023, which YAML reads as 19: write that"),
    ("measuring: {case_time_limit_s: 1:30}", "line 1: found 1:30, which YAML reads as 90"),
    ("records_only: 'no'", "found 'no', a text; allowed is a truth value: write true or false"),
    ("campaign: 2026-11-29", "found 2026-11-29, a date; allowed is a text: put it in quotes"),
    ("fp32: ", "fp32: unknown key"),
    ("measuring:\n\tlaunches: 3", "line 2, column 1: not YAML"),
    ("on: push", "found True as a key; allowed is text: put it in quotes"),
    ("\ufffe", "not UTF-8: save it as UTF-8 text"),
]
"""A file, and the value of its innermost key as it is taken, or what the refusal says."""


@pytest.mark.parametrize(("text", "taken"), YAML, ids=[text for text, _ in YAML])
def test_a_file_means_what_it_looks_like_or_is_refused(
    text: str, taken: Any, raw_config: Config, check: Check, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_bytes(text.encode("utf-16" if text == "\ufffe" else "utf-8"))

    def value() -> Any:
        read_config_file(mine)
        given = load_configfile(str(mine))  # as Snakemake reads it
        found: Any = check(overlay(raw_config, given), BASE, mine)
        while isinstance(given, dict):
            ((key, given),) = given.items()
            found = found[key]
        return found

    if isinstance(taken, str) and " " in taken:
        with pytest.raises(UserError, match=re.escape(taken)):
            value()
    else:
        assert value() == taken


def test_a_model_may_be_compared_once_only(raw_config: Config, check: Check) -> None:
    raw_config["quality"] *= 2
    with pytest.raises(UserError, match=r"quality\[1\]\.model: found 'shapes' a second time"):
        check(raw_config)


SET = {"model": "shapes", "device": "cpu", "prompts": ["a cat"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"variants": [{"precision": "tf32"}]},
            "variants[0]: found a variant that cannot exist: TF32",
        ),
        ({"prompts": [""]}, "prompts[0]: found ''; allowed is a text of at least 1 character(s)"),
        ({"judge": "me"}, "judge: found 'me'; allowed is one of `none` or `shapes`"),
        ({"judge": {"hub": "a/b", "revision": "main"}}, "judge.revision: found 'main'"),
        (
            {"judge": {"hub": "a/b", "revision": "0" * 40, "tokenizer": "c/d"}},
            "judge.tokenizer: found 'c/d'",
        ),
    ],
)
def test_a_set_of_images_that_is_wrong_is_refused_in_one_line(
    changes: Config, said: str, raw_config: Config, check: Check
) -> None:
    raw_config["quality_set"] = [SET | changes]
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        check(raw_config)
    assert "quality_set[0]." in str(refused.value) and "\n" not in str(refused.value)


def test_a_model_has_one_set_of_images(raw_config: Config, check: Check) -> None:
    raw_config["quality_set"] = [SET, SET]
    with pytest.raises(UserError, match=r"quality_set\[1\]\.model: found 'shapes' a second time"):
        check(raw_config)


def test_the_file_that_holds_the_wrong_key_or_the_command_line_is_named(
    raw_config: Config, check: Check, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("measuring: {warmup: 3}\n")
    merged = overlay(raw_config, {"measuring": {"warmup": 3}})
    with pytest.raises(UserError, match=r"mine\.yaml: measuring\.warmup: unknown key"):
        check(merged, BASE, mine)
    with pytest.raises(UserError, match=r"^--config: colour: unknown key"):
        check(raw_config | {"colour": "blue"})


def test_a_repeated_key_is_refused(raw_config: Config, check: Check, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("currency: EUR\nmeasuring: &m {min_samples: 3}\ncurrency: USD\n")
    with pytest.raises(UserError, match=r"mine\.yaml: currency: found twice"):
        check(raw_config, BASE, mine)
    # A merge may be overridden, and merged in its turn before it is built itself.
    mine.write_text("a: &a {x: 1}\nb: {c: &b {<<: *a, x: 2}}\nd: {<<: *b, x: 3}\n")
    check(raw_config, BASE, mine)
    assert read_config_file(mine) == {"a": {"x": 1}, "b": {"c": {"x": 2}}, "d": {"x": 3}}


def test_every_key_has_a_description(schema: dict[str, Any]) -> None:
    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                described = value if "$ref" not in value else schema["$defs"][value["$ref"][8:]]
                assert described.get("description") or described.get("properties"), f"{path}.{key}"
            for key, value in node.items():
                walk(value, f"{path}.{key}")

    walk({k: v for k, v in schema.items() if k != "$defs"}, "")
    walk(schema["$defs"], "$defs")


def test_the_order_of_keys_makes_no_difference(raw_config: Config, check: Check) -> None:
    """Not even to Snakemake, which compares what it passes to a rule as text."""

    def reversed_keys(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reversed_keys(value[key]) for key in reversed(value)}
        return [reversed_keys(item) for item in value] if isinstance(value, list) else value

    there = check(reversed_keys(raw_config))
    before = repr(raw_config)
    assert repr(there) == repr(check(raw_config))
    assert repr(raw_config) == before, "the given config was changed"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("nope", "cpu", "pytorch", "fp32", "none"), "model: found 'nope'; allowed are `shapes`"),
        (("shapes", "gpu", "pytorch", "fp32", "none"), "device: found 'gpu'; allowed are `cpu`"),
        (("shapes", "cpu", "onnxruntime", "fp32", "none"), "backend: .* allowed are `pytorch`"),
        (("shapes", "cpu", "pytorch", "fp7", "none"), "precision: .* allowed are `fp32`"),
        (("shapes", "cpu", "pytorch", "fp32", "fast"), "options: unknown option 'fast'"),
        (("shapes", "cpu", "pytorch", "tf32", "none"), "this case cannot exist: TF32"),
    ],
)
def test_a_case_that_is_asked_for_must_exist(
    names: tuple[str, ...], message: str, config: Config, schema: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        name_case(RunConfig.of(config), schema, Variant(*names), 1)
    assert "\n" not in str(caught.value)


def test_a_case_asked_for_need_not_be_in_the_matrix(config: Config, schema: dict[str, Any]) -> None:
    asked = Variant("shapes", "cpu", "pytorch", "fp32", "compile+channels-last")
    case = name_case(RunConfig.of(config), schema, asked, 3)
    assert case.variant.options == "channels-last+compile"
    assert case.batch_size == 3
    of_the_matrix, *_ = expand_matrix(RunConfig.of(config))[0]
    again = name_case(RunConfig.of(config), schema, of_the_matrix.variant, of_the_matrix.batch_size)
    assert again == of_the_matrix
