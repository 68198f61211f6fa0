"""Write what a model is: where it comes from, its parameters and the hashes of its files."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sdbench.models.manifest import describe, describe_unmade
from sdbench.runtime.failures import KEY, raise_failure
from sdbench.runtime.files import write_json
from sdbench.runtime.job import run_script


def describe_model(model: Path, source: Mapping[str, Any], name: str, manifest: Path) -> None:
    """Write what `sdbench.models.manifest.describe` says of a model to the JSON file `manifest`."""
    raise_failure(model)
    described = describe(model, source, name)
    write_json(manifest, described)
    print(f"{name}: {sum(described['parameters'].values()):,} parameters, {described['digest']}")


def write_failed(source: Mapping[str, Any], name: str, manifest: Path, reason: str) -> None:
    """Write the `manifest` of a model that could not be made, or is none: `failed` says why."""
    write_json(manifest, describe_unmade({}, source, name) | {KEY: reason})


if __name__ == "__main__":
    name = snakemake.wildcards.model
    failed = partial(write_failed, snakemake.params.source, name)
    run_script(snakemake, describe_model, failed, name=name)
