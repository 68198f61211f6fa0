"""Check a configuration against config/schema.yaml and fill in what it leaves out."""

import copy
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case, Variant
from sdbench.cases.expansion import MOST_CELLS, MOST_JOBS, RunConfig, count_cells, count_jobs
from sdbench.cases.kinds import KINDS
from sdbench.cases.options import format_options, parse_options
from sdbench.config.files import FastLoader, locate, read_config_file
from sdbench.runtime.errors import UserError, one_line

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match

Config = dict[str, Any]
KeyPath = list[str | int]

AUTO, ALL, GPUS = "auto", "all", "gpus"
"""In place of devices: those of this machine. In place of names: each, and each that is a GPU."""
ONLY_CPU = {"cpu": {"kind": "cpu"}}


def load_schema(path: Path) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) that the YAML file at `path` holds."""
    schema: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), FastLoader)
    return schema


def check_config(
    config: Mapping[str, Any],
    schema: Mapping[str, Any],
    files: Sequence[Path],
    found: Mapping[str, Any] = ONLY_CPU,
) -> Config:
    """Return a complete configuration, or say what is wrong with the one given.

    Args:
        config: the configuration as merged from all its files and the command line.
        schema: what `load_schema` returned.
        files: the files that were merged, the later ones overriding; only read to tell the user
            in which of them a wrong key stands.
        found: the devices of this machine, which `devices: auto` stands for.

    Returns:
        A deep copy, devices by their names, in which every key that the schema knows has a value.
        Keys are in alphabetical order: the order in which a user wrote them is no change, and must
        not look like one.

    Raises:
        UserError: on the first key that is unknown, missing, of the wrong type or out of range,
            and on a name that is not defined.
    """
    for file in files:
        read_config_file(file)
    _check_values(config, files)
    error = best_match(_Validator(schema).iter_errors(config))
    if error is not None:
        raise UserError(_explain(error, files))
    complete: Config = {"devices": AUTO} | copy.deepcopy(dict(config))
    is_auto = complete["devices"] == AUTO
    if is_auto:
        complete["devices"] = copy.deepcopy(dict(found))
    _fill_defaults(complete, schema, schema)
    _name_devices(complete)
    plan = RunConfig.of(complete)
    _check_size(plan, files)
    _check_names(complete, files, is_auto)
    _check_variants(plan, files)
    ordered: Config = _in_order(complete)
    return ordered


def _name_devices(complete: Config) -> None:
    """Put names in the place of `all` and `gpus`."""
    devices = complete["devices"]
    named = {ALL: [*devices], GPUS: [n for n, d in devices.items() if KINDS[d["kind"]].is_gpu]}
    for entry in (*complete["matrix"], *complete["quality"]):
        if isinstance(entry["devices"], str):
            entry["devices"] = named[entry["devices"]]


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value, key=str)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _check_values(config: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Refuse what no schema can: numbers that are none, text that cannot be written."""
    for path, value, is_key in _leaves(config):
        if is_key and not isinstance(value, str):
            fault = f"found {_shorten(value)} as a key; allowed is text: put it in quotes"
        elif isinstance(value, float) and not math.isfinite(value):
            fault = f"found {value}; allowed is a finite number: change it"
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            fault = f"found {value:.2g}; allowed is a number of 64 bits: change it"
        elif isinstance(value, str) and (character := _UNWRITABLE.search(value)):
            fault = (
                f"found {_shorten(value)} with {character[0]!r}; allowed is text that can be "
                "written as UTF-8 and as XML, without control characters: change it"
            )
        else:
            continue
        raise UserError(f"{locate(path, files)}: {fault}")


_UNWRITABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold or discourages: surrogates and control characters."""


def _check_size(plan: RunConfig, files: Sequence[Path]) -> None:
    """Refuse more than can be planned in seconds, before it is written out."""
    cells, jobs = count_cells(plan), count_jobs(plan)
    for section, found, most, what in (
        ("matrix", cells, MOST_CELLS, "cells"),
        ("quality" if plan.quality else "matrix", jobs, MOST_JOBS, "jobs"),
    ):
        if found > most:
            raise UserError(
                f"{locate([section], files)}: found {found:,} {what}; allowed are {most:,}: split "
                "it into several configs, each with its own results folder (`pathvars`)"
            )


def _check_names(complete: Config, files: Sequence[Path], is_auto: bool) -> None:
    """Refuse an option that is named twice, and the name of nothing."""
    for path, options in _options(complete):
        try:
            parse_options(options)
        except ValueError as fault:
            raise UserError(
                f"{locate(path, files)}: {fault}: use known options, each once"
            ) from None
    for path, found, allowed in _dangling_names(complete):
        section = "models" if path[-1] == "model" else "devices"
        if is_auto and section == "devices":
            raise UserError(
                f"{locate(path, files)}: {_shorten(found)} is no device of this machine; found are "
                f"{_enumerate(allowed)}: use one of these, or name your devices under `devices`"
            )
        raise UserError(
            f"{locate(path, files)}: {_shorten(found)} is not defined; defined are "
            f"{_enumerate(allowed)}: use one of these or add it under `{section}`"
        )


def _check_variants(plan: RunConfig, files: Sequence[Path]) -> None:
    """Refuse devices and variants that cannot exist, and what is compared or raced twice."""
    for name, device in plan.devices.items():
        if device.gpu_model and not KINDS[device.kind].is_gpu:
            raise UserError(
                f"{locate(['devices', name, 'gpu_model'], files)}: found "
                f"{_shorten(device.gpu_model)} on a CPU; allowed is a GPU, such as kind `cuda`: "
                "change `kind` or remove `gpu_model`"
            )
    for i, entry in enumerate(plan.quality):
        reason = plan.why_absent(entry.reference_variant())
        if reason is not None:
            raise UserError(
                f"{locate(['quality', i, 'reference'], files)}: found a variant that cannot exist: "
                f"{reason}: choose another reference"
            )
    entries = [entry.model for entry in plan.quality]
    for i, model in enumerate(entries):
        if model in entries[:i]:
            raise UserError(
                f"{locate(['quality', i, 'model'], files)}: found {model!r} a second time; "
                "allowed is one entry for each model: put its devices and precisions together"
            )
    _check_races(plan, files)


def _check_races(plan: RunConfig, files: Sequence[Path]) -> None:
    """Refuse a variant that cannot exist, and one that is raced twice alike."""
    seen = set()
    for i, race in enumerate(plan.races):
        places: list[tuple[KeyPath, Variant]] = [(["reference"], race.variant(race.reference))]
        places += [(["variants", j], race.variant(given)) for j, given in enumerate(race.variants)]
        for place, variant in places:
            reason = plan.why_absent(variant)
            if reason is not None:
                raise UserError(
                    f"{locate(['races', i, *place], files)}: found a variant that cannot exist: "
                    f"{reason}: remove or change it"
                )
        for size, (place, variant) in itertools.product(race.sizes, places[1:]):
            one = (variant, size, race.batch_size)
            if one in seen:
                raise UserError(
                    f"{locate(['races', i, *place], files)}: found a variant that is already "
                    f"raced at {size} px; allowed is once: remove the variant or the size"
                )
            seen.add(one)


def check_campaigns(config: Config, known: Sequence[str], files: Sequence[Path]) -> None:
    """Check that every campaign of published results that a config names is known.

    Raises:
        UserError: if one is not.
    """
    for i, name in enumerate(config["published"]):
        if name not in known:
            raise UserError(
                f"{locate(['published', i], files)}: found {_shorten(name)}; allowed are "
                f"{_enumerate(known)}: use some of these"
            )


def name_case(
    plan: RunConfig, schema: Mapping[str, Any], variant: Variant, batch_size: int
) -> Case:
    """Return a case of PyTorch by its names, which the matrix need not have.

    Args:
        plan: of the configuration, which must have the model and the device.
        schema: what `load_schema` returned; it has the precisions.
        variant: names as a user wrote them.
        batch_size: of the case.

    Raises:
        UserError: if one is the name of nothing, or no such case can exist.
    """
    allowed = {
        "model": plan.generations,
        "device": plan.devices,
        "backend": ["pytorch"],
        "precision": schema["$defs"]["precision"]["enum"],
    }
    for key, names in allowed.items():
        found = getattr(variant, key)
        if found not in names:
            raise UserError(
                f"{key}: found {_shorten(found)}; allowed are {_enumerate(names)}: use one of these"
            )
    try:
        options = format_options(parse_options(variant.options))
    except ValueError as fault:
        raise UserError(f"options: {fault}: use known options, each once") from None
    reason = plan.why_absent(variant)
    if reason is not None:
        raise UserError(f"this case cannot exist: {reason}: choose another")
    return plan.case(replace(variant, options=options), batch_size)


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a `$ref` into `$defs`, keeping what stands next to it (a default, say)."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target = root["$defs"][reference.removeprefix("#/$defs/")]
    return {**resolve(target, root), **{k: v for k, v in schema.items() if k != "$ref"}}


def _fill_defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    schema = resolve(schema, root)
    for choice in schema.get("oneOf", ()):
        if Draft202012Validator({**choice, "$defs": root["$defs"]}).is_valid(value):
            _fill_defaults(value, choice, root)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for key, sub in properties.items():
            default = resolve(sub, root).get("default")
            if key not in value and default is not None:
                value[key] = copy.deepcopy(default)
        for key, item in value.items():
            sub = properties.get(key, schema.get("additionalProperties"))
            if isinstance(sub, Mapping):
                _fill_defaults(item, sub, root)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for item in value:
            _fill_defaults(item, schema["items"], root)


def _unique_items(
    _validator: Any, wanted: bool, found: Any, _schema: Any
) -> Iterable[ValidationError]:
    if wanted and isinstance(found, list) and len({*map(repr, found)}) < len(found):
        yield ValidationError("an item twice")


_Validator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    # In no more time than it takes to write them: jsonschema compares unlike items each with each.
    {"uniqueItems": _unique_items},
    # JSON schema takes 2.0 for an integer; a range of steps does not.
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterable[tuple[KeyPath, Any, bool]]:
    """Yield every key in a config, and every value that is neither a mapping nor a list.

    Yields:
        Its path, itself, and whether it is a key.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield [*path, key], key, True
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, (*path, i))
    else:
        yield [*path], value, False


def _options(config: Config) -> Iterable[tuple[KeyPath, str]]:
    """Yield every set of options."""
    for section in ("matrix", "quality"):
        for i, block in enumerate(config[section]):
            yield from (([section, i, "options", j], o) for j, o in enumerate(block["options"]))
            if "reference" in block:
                yield [section, i, "reference", "options"], block["reference"]["options"]
    for i, race in enumerate(config["races"]):
        yield ["races", i, "reference", "options"], race["reference"]["options"]
        for j, given in enumerate(race["variants"]):
            yield ["races", i, "variants", j, "options"], given["options"]


def _dangling_names(config: Config) -> Iterable[tuple[KeyPath, str, Iterable[str]]]:
    """Yield every use of a model or device that the config does not define."""
    models, devices = config["models"], config["devices"]
    for section in ("matrix", "quality"):
        for i, block in enumerate(config[section]):
            if block["model"] not in models:
                yield [section, i, "model"], block["model"], models
            for device in block["devices"]:
                if device not in devices:
                    yield [section, i, "devices"], device, devices
            if "reference" in block and block["reference"]["device"] not in devices:
                yield [section, i, "reference", "device"], block["reference"]["device"], devices
    for i, race in enumerate(config["races"]):
        for key, names in (("model", models), ("device", devices)):
            if race[key] not in names:
                yield ["races", i, key], race[key], names


def _meant(error: ValidationError) -> ValidationError:
    """Return what is wrong with a mapping or a list in the one of several forms that it has."""
    if error.validator == "oneOf":
        choices: Any = error.validator_value
        for number, choice in enumerate(choices):
            if _has_form(error.instance, choice):
                within = [e for e in error.context or () if e.relative_schema_path[0] == number]
                return best_match(within) or error
    return error


def _has_form(value: Any, choice: Mapping[str, Any]) -> bool:
    if isinstance(value, dict):
        return choice.get("type") == "object" and value.keys() >= {*choice.get("required", ())}
    return isinstance(value, list) and choice.get("type") == "array"


def _explain(error: ValidationError, files: Sequence[Path]) -> str:
    """Say in one line where, what was found, what is allowed and what to do."""
    error = _meant(error)
    path: KeyPath = list(error.absolute_path)
    schema: Any = error.schema
    rule: Any = error.validator
    limit: Any = error.validator_value
    found: Any = error.instance
    where = locate(path, files)
    if rule == "additionalProperties":
        keys = sorted(schema.get("properties", {}))
        unknown = next(key for key in found if key not in keys)
        return (
            f"{locate([*path, unknown], files)}: unknown key; "
            f"allowed here are {_enumerate(keys)}: remove or rename it"
        )
    if rule == "required":
        missing = next(key for key in limit if key not in found)
        return f"{where}: the key `{missing}` is missing: add it"
    if rule == "type":
        problem = f"a {_kind(found)}; allowed is a {_KINDS[limit]}: change it"
        return f"{where}: found {_shorten(found)}, {problem}"
    if rule == "enum":
        allowed = f"allowed are {_enumerate(limit)}: use one of these"
    elif rule == "oneOf":
        allowed = f"allowed is one of {_enumerate(_form(c) for c in limit)}: use one of these"
    elif rule == "pattern":
        hint = schema.get("description") or f"a text that matches {limit}"
        names = [choice["const"] for choice in schema.get("anyOf", ()) if "const" in choice]
        hint = hint.rstrip(".") + (f"; there are {_enumerate(names)}" if names else "")
        allowed = f"allowed is: {hint}: change it"
    elif rule in _BOUNDS:
        allowed = f"allowed is {_BOUNDS[rule].format(limit)}: change it"
    else:
        allowed = f"{one_line(error)}: change it"
    return f"{where}: found {_shorten(found)}; {allowed}"


_BOUNDS = {
    "minimum": "{} or more",
    "maximum": "{} or less",
    "exclusiveMinimum": "more than {}",
    "multipleOf": "a multiple of {}",
    "minItems": "a list of at least {} item(s)",
    "minProperties": "at least {} name(s)",
    "maxLength": "a text of at most {} characters",
    "minLength": "a text of at least {} character(s)",
    "uniqueItems": "a list without repeats",
}


def _form(choice: Mapping[str, Any]) -> str:
    if "const" in choice:
        return str(choice["const"])
    if "enum" in choice:
        return "` or `".join(choice["enum"])
    if "required" in choice:
        return "{" + ", ".join(f"{key}: ..." for key in choice["required"]) + "}"
    return f"a {_KINDS[choice['type']]}"


_KINDS = {
    "object": "mapping",
    "array": "list",
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "truth value",
    "null": "null",
}
"""What people call the types of JSON schema."""


def _kind(value: Any) -> str:
    return next(
        (n for t, n in _KINDS.items() if Draft202012Validator({"type": t}).is_valid(value)),
        type(value).__name__,
    )


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _enumerate(names: Iterable[Any]) -> str:
    """Return the first twenty names, and how many more there are."""
    every = list(names)
    shown = ", ".join(f"`{name}`" for name in every[:20])
    return shown if len(every) <= 20 else f"{shown} and {len(every) - 20} more"
