"""Write what a model is: where it comes from, its parameters and the hashes of its files."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sdbench.models.manifest import describe, describe_failed
from sdbench.runtime.failures import raise_failure
from sdbench.runtime.files import write_json
from sdbench.runtime.job import run_script


def describe_model(model: Path, source: Mapping[str, Any], name: str, manifest: Path) -> None:
    """Write what `sdbench.models.manifest.describe` says of a model to the JSON file `manifest`."""
    raise_failure(model)
    described = describe(model, source, name)
    write_json(manifest, described)
    print(f"{name}: {sum(described['parameters'].values()):,} parameters, {described['digest']}")


def write_failed(source: Mapping[str, Any], name: str, manifest: Path, reason: str) -> None:
    """Write what `sdbench.models.manifest.describe_failed` says of a model to `manifest`."""
    write_json(manifest, describe_failed(source, name, reason))


if __name__ == "__main__":
    name, manifest = snakemake.wildcards.model, Path(snakemake.output[0])
    failed = partial(write_failed, snakemake.params.source, name, manifest)
    run_script(snakemake, describe_model, failed, name=name, manifest=manifest)
