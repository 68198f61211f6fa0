"""Write what a model is: where it comes from, its parameters and the hashes of its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.models.manifest import describe
from sdbench.runtime.files import write_json
from sdbench.runtime.job import run_script


def describe_model(model: Path, source: Mapping[str, Any], name: str, manifest: Path) -> None:
    """Write what `sdbench.models.manifest.describe` says of a model to the JSON file `manifest`."""
    described = describe(model, source, name)
    write_json(manifest, described)
    print(f"{name}: {sum(described['parameters'].values()):,} parameters, {described['digest']}")


if __name__ == "__main__":
    name, manifest = snakemake.wildcards.model, Path(snakemake.output[0])
    run_script(snakemake, describe_model, name=name, manifest=manifest)
