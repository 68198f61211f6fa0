"""Check a configuration against config/schema.yaml and fill in what it leaves out."""

import copy
import csv
import datetime
import difflib
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case, Variant
from sdbench.cases.expansion import MOST_CELLS, MOST_JOBS, RunConfig, count_cells, count_jobs
from sdbench.cases.kinds import KINDS
from sdbench.cases.options import format_options, parse_options
from sdbench.config.files import FastLoader, locate, read_config_file
from sdbench.runtime.errors import UserError, plain

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match

Config = dict[str, Any]
KeyPath = tuple[str | int, ...]
Fault = tuple[KeyPath, str]
"""Where something is wrong; what was found there, what is allowed and what to do."""

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
        files: the files that were merged, the later ones overriding: errors name the one.
        found: the devices of this machine, which `devices: auto` stands for.

    Returns:
        A deep copy, devices by their names, in which every key that the schema knows has a value.
        Keys are in alphabetical order: the order in which a user wrote them is no change, and must
        not look like one.

    Raises:
        UserError: on the first key, value or name that is wrong.
    """
    for file in files:
        read_config_file(file)
    _refuse(_unwritable(config), files)
    devices = config.get("devices", AUTO)
    if isinstance(devices, dict) and isinstance(devices.get("cpu", {}), dict):
        # Every machine has one, and it need not be named.
        config = {
            **config,
            "devices": {**devices, "cpu": {"kind": "cpu", **devices.get("cpu", {})}},
        }
    config = _with_numbers(config, schema, schema)
    error = best_match(_Validator(schema).iter_errors(config))
    if error is not None:
        _refuse([_explain(error)], files)
    complete = copy.deepcopy(dict(config))
    is_auto = devices == AUTO
    if is_auto:
        complete["devices"] = copy.deepcopy(dict(found))
    _fill_defaults(complete, schema, schema)
    for source in (model["source"] for model in complete["models"].values()):
        if "local" in source:
            # pathlib would fail on the home of a user that is none: no such folder will do.
            source["local"] = os.path.expanduser(os.path.expandvars(source["local"]))  # noqa: PTH111
    devices = complete["devices"]
    named = {ALL: [*devices], GPUS: [n for n, d in devices.items() if KINDS[d["kind"]].is_gpu]}
    for entry in (*complete["matrix"], *complete["quality"]):
        if isinstance(entry["devices"], str):
            entry["devices"] = named[entry["devices"]]
    plan = RunConfig.of(complete)
    misnamed = _misnamed(complete, is_auto)
    for faults in (_oversized(plan), misnamed, _impossible(plan), _repeated(plan)):
        _refuse(faults, files)
    ordered: Config = json.loads(json.dumps(complete, sort_keys=True))
    return ordered


def _refuse(faults: Iterable[Fault], files: Sequence[Path]) -> None:
    for path, fault in faults:
        raise UserError(f"{locate(path, files)}: {fault}")


def _unwritable(value: Any, path: KeyPath = ()) -> Iterator[Fault]:
    """Yield what no schema refuses: keys that are not text, NaN, text that XML cannot hold."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                fault = f"found {_shorten(key)} as a key; allowed is text: put it in quotes"
                yield (*path, key), fault
            yield from _unwritable(key, (*path, key))
            yield from _unwritable(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _unwritable(item, (*path, i))
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"found {value}; allowed is a finite number: change it"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield path, f"found {value:.2g}; allowed is a number of 64 bits: change it"
    elif isinstance(value, str) and (character := _UNWRITABLE.search(value)):
        yield (
            path,
            f"found {_shorten(value)} with {character[0]!r}; allowed is text that can be "
            "written as UTF-8 and as XML, without control characters: change it",
        )


_UNWRITABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold or discourages: surrogates and control characters."""


def _oversized(plan: RunConfig) -> Iterator[Fault]:
    """Yield what is more than can be planned in seconds, before it is written out."""
    split = "split it into several configs, each with its own results folder (`pathvars`)"
    for section, found, most, what in (
        ("matrix", count_cells(plan), MOST_CELLS, "cells"),
        ("quality" if plan.quality else "matrix", count_jobs(plan), MOST_JOBS, "jobs"),
    ):
        if found > most:
            yield (section,), f"found {found:,} {what}; allowed are {most:,}: {split}"


def _misnamed(config: Config, is_auto: bool) -> Iterator[Fault]:
    """Yield unknown and repeated options, and names of models and devices that are not defined, or
    that some disks cannot tell from another."""
    for defined in ("models", "devices"):
        folded: dict[str, str] = {}
        for one in config[defined]:
            first = folded.setdefault(one.casefold(), one)
            if first != one:
                same = f"is `{first}` in other case, which macOS and Windows take for one file"
                yield (defined, one), f"{same}: use another name"
    sections = {name: config[name] for name in ("matrix", "quality", "races", "quality_set")}
    named = [(path, name) for path, name in _leaves(sections) if isinstance(name, str)]
    for path, name in named:
        if "options" in path[-2:]:
            try:
                parse_options(name)
            except ValueError as fault:
                yield path, f"{fault}: use known options, each once"
    for path, name in named:
        key = path[-1] if isinstance(path[-1], str) else path[-2]
        section = {"model": "models", "device": "devices", "devices": "devices"}.get(str(key))
        if section and name not in config[section]:
            there = _enumerate(config[section])
            said = f"is not defined; defined are {there}: use one of these or add it under"
            if is_auto and section == "devices":
                said = f"is no device of this machine; found are {there}: use one of these or name"
                said += " your devices under"
            yield path[: path.index(key) + 1], f"{_shorten(name)} {said} `{section}`"


def _leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value that is neither a mapping nor a list, after its path."""
    if not isinstance(value, (dict, list)):
        yield path, value
        return
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(item, (*path, key))


def _impossible(plan: RunConfig) -> Iterator[Fault]:
    """Yield devices that cannot exist, and variants outside the matrix."""
    for name, device in plan.devices.items():
        if device.gpu_model and not KINDS[device.kind].is_gpu:
            yield (
                ("devices", name, "gpu_model"),
                f"found {_shorten(device.gpu_model)} on a CPU; allowed is a GPU, such as kind "
                "`cuda`: change `kind` or remove `gpu_model`",
            )
    for path, variant in _named_variants(plan):
        if reason := plan.why_absent(variant):
            what = "reference" if path[-1] == "reference" else "variant"
            yield path, f"found a variant that cannot exist: {reason}: choose another {what}"


def _named_variants(plan: RunConfig) -> Iterator[tuple[KeyPath, Variant]]:
    """Yield each variant that a section other than the matrix names, after its path."""
    for i, entry in enumerate(plan.quality):
        yield ("quality", i, "reference"), entry.reference_variant()
    for section, entries in (("quality_set", plan.quality_set), ("races", plan.races)):
        for i, asked in enumerate(entries):
            yield (section, i, "reference"), asked.variant(asked.reference)
            for j, given in enumerate(asked.variants):
                yield (section, i, "variants", j), asked.variant(given)


def _repeated(plan: RunConfig) -> Iterator[Fault]:
    """Yield models that are compared twice, or have two sets, and variants that are raced twice."""
    compared = {
        "quality": [entry.model for entry in plan.quality],
        "quality_set": [entry.model for entry in plan.quality_set],
    }
    for section, models in compared.items():
        for i, model in enumerate(models):
            if model in models[:i]:
                fault = f"found {model!r} a second time; allowed is one entry for each model"
                yield (section, i, "model"), f"{fault}: put both together"
    seen = set()
    for i, race in enumerate(plan.races):
        for size, (j, given) in itertools.product(race.sizes, enumerate(race.variants)):
            raced = race.variant(given), size, race.batch_size
            if raced in seen:
                yield (
                    ("races", i, "variants", j),
                    f"found a variant that is already raced at {size} px; allowed is once: remove "
                    "the variant or the size",
                )
            seen.add(raced)


def check_campaigns(config: Config, published: Path, files: Sequence[Path]) -> None:
    """Raise `UserError` if a campaign of a config has no row in `published` (schema PUBLISHED)."""
    with published.open(encoding="utf-8", newline="") as file:
        known = dict.fromkeys(row["campaign"] for row in csv.DictReader(file))
    for i, name in enumerate(config["published"]):
        if name not in known:
            fault = f"found {_shorten(name)}; allowed are {_enumerate(known)}: use some of these"
            _refuse([(("published", i), fault)], files)


def name_case(
    plan: RunConfig, schema: Mapping[str, Any], variant: Variant, batch_size: int
) -> Case:
    """Return a case of PyTorch by its names as a user wrote them; the matrix need not have it.

    Raises:
        UserError: if a name is of nothing in `plan` or `schema`, or no such case can exist.
    """
    for key, names in {
        "model": plan.generations,
        "device": plan.devices,
        "backend": ["pytorch"],
        "precision": schema["$defs"]["precision"]["enum"],
    }.items():
        found = getattr(variant, key)
        if found not in names:
            raise UserError(f"{key}: found {_shorten(found)}; allowed are {_use_one(names)}")
    try:
        options = format_options(parse_options(variant.options))
    except ValueError as fault:
        raise UserError(f"options: {fault}: use known options, each once") from None
    if reason := plan.why_absent(variant):
        raise UserError(f"this case cannot exist: {reason}: choose another")
    return plan.case(replace(variant, options=options), batch_size)


def resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a `$ref` into `$defs`, keeping what stands next to it (a default, say)."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target = root["$defs"][reference.removeprefix("#/$defs/")]
    return {**resolve(target, root), **{k: v for k, v in schema.items() if k != "$ref"}}


def _with_numbers(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Return `value` with a number where the schema wants one and it has the text of one.

    Of 1e-3 YAML 1.1, which Snakemake reads, makes a text, since it lacks a point and a sign
    (1.0e-3). Of `--config "measuring={launches: 1}"` Snakemake itself makes texts.
    """
    schema = resolve(schema, root)
    for choice in schema.get("oneOf", ()):
        value = _with_numbers(value, choice, root)
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties") or {}
        return {k: _with_numbers(v, known.get(k, other), root) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item, schema.get("items", {}), root) for item in value]
    if isinstance(value, str) and (written := _NUMBERS.get(schema.get("type", ""))):
        pattern, read = written
        return read(value) if pattern.fullmatch(value) else value
    return value


_NUMBERS: dict[str, tuple[re.Pattern[str], type[int | float]]] = {
    "integer": (re.compile(r"[-+]?(0|[1-9]\d*)"), int),
    "number": (re.compile(r"[-+]?((0|[1-9]\d*)\.?\d*|\.\d+)([eE][-+]?\d+)?"), float),
}


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


_Validator = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    # JSON schema takes 2.0 for an integer; a range of steps does not.
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def _meant(error: ValidationError) -> ValidationError:
    """Return what is wrong with a mapping or a list in the one of several forms that it has."""
    parent: Any = error.parent
    whole = parent if parent is not None and parent.validator == "oneOf" else error
    if whole.validator == "oneOf":
        choices: Any = whole.validator_value
        forms = [n for n, choice in enumerate(choices) if _has_form(whole.instance, choice)]
        if len(forms) == 1:
            within = [e for e in whole.context or () if e.relative_schema_path[0] == forms[0]]
            return best_match(within) or error
        return error if forms else whole
    return error


def _has_form(value: Any, choice: Mapping[str, Any]) -> bool:
    if isinstance(value, dict):
        known = {*choice.get("required", ())}
        return choice.get("type") == "object" and (not known or bool(value.keys() & known))
    return isinstance(value, list) and choice.get("type") == "array"


def _explain(error: ValidationError) -> Fault:
    error = _meant(error)
    path: KeyPath = tuple(error.absolute_path)
    schema: Any = error.schema
    limit: Any = error.validator_value
    found: Any = error.instance
    match error.validator:
        case "additionalProperties":
            keys = sorted(schema.get("properties", {}))
            unknown = next(key for key in found if key not in keys)
            near = difflib.get_close_matches(unknown.lower(), keys, 1)
            do = f"rename it, did you mean `{near[0]}`?" if near else "remove or rename it"
            fault = f"unknown key; allowed here are {_enumerate(keys)}: {do}"
            return (*path, unknown), fault
        case "required":
            missing = next(key for key in limit if key not in found)
            return path, f"the key `{missing}` is missing: add it"
        case "type":
            is_type = _Validator(True).is_type
            kinds = (name for kind, name in TYPES.items() if is_type(found, kind))
            is_a = f"{_shorten(found)}, a {next(kinds, type(found).__name__)}"
            do = (
                "change it"
                if isinstance(found, (dict, list))
                else WRITTEN[limit].format(plain(found))
            )
            if found is None:
                is_a, do = "nothing", "give it a value, or remove the key"
            return path, f"found {is_a}; allowed is a {TYPES[limit]}: {do}"
        case "enum":
            allowed = f"are {_use_one(limit)}"
        case "oneOf":
            allowed = f"is one of {_use_one(map(_form, limit))}"
        case "pattern":
            hint = schema.get("description", f"a text that matches {limit}").rstrip(".")
            names = [choice["const"] for choice in schema.get("anyOf", ()) if "const" in choice]
            allowed = f"is: {hint}{f'; there are {_enumerate(names)}' if names else ''}: change it"
        case rule:
            allowed = f"is {BOUNDS[str(rule)].format(limit)}: change it"
    return path, f"found {_shorten(found)}; allowed {allowed}"


BOUNDS = {
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
TYPES = {
    "object": "mapping",
    "array": "list",
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "truth value",
    "null": "null",
}
"""What people call the rules and types of JSON schema."""
WRITTEN = {
    "object": "write its keys below it",
    "array": "write `[{}]`",
    "string": "put it in quotes",
    "integer": "write it in digits, without quotes or point",
    "number": "write it as 1.5, without quotes, comma or unit",
    "boolean": "write true or false, without quotes",
}
"""How a value of a type is written in YAML."""


def _form(choice: Mapping[str, Any]) -> str:
    if "const" in choice:
        return str(choice["const"])
    if "enum" in choice:
        return "` or `".join(choice["enum"])
    if "required" in choice:
        return "{" + ", ".join(f"{key}: ..." for key in choice["required"]) + "}"
    if "additionalProperties" in choice:
        return "{name: {...}}"
    if "items" in choice:
        return "[name, ...]"
    return f"a {TYPES[choice['type']]}"


def _shorten(value: Any) -> str:
    text = str(value) if isinstance(value, datetime.date) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _enumerate(names: Iterable[Any]) -> str:
    """Return the first twenty names, and how many more there are."""
    every = [f"`{name}`" for name in names]
    more = f" and {len(every) - 20} more" if len(every) > 20 else ""
    return ", ".join(every[:20]) + more


def _use_one(names: Iterable[Any]) -> str:
    return f"{_enumerate(names)}: use one of these"
