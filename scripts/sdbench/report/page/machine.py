"""On what was measured: the environments that the records name, and when."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.runtime.files import read_json

_PASSING = ("slurm_job", "cuda_visible_devices")
"""What differs from job to job on one and the same machine."""

_MOST_VALUES = 6


def read_machines(indexes: Sequence[Path]) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Return the machines of all records, and when the first was begun and the last ended.

    What differs between the records of a machine, such as a switch of a case, has several values.

    Args:
        indexes: the index of each job's records, `<model>/<device>/<backend>/index.json`.

    Returns:
        Of each machine its name, what ran on it, and what the records say of it, name and value;
        and two dates as ISO 8601 has them, None without records.

    Raises:
        UserError: if a file is gone or damaged; it names the file.
    """
    jobs: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    facts: dict[tuple[str, str], dict[str, dict[str, None]]] = defaultdict(dict)
    started, finished = [], []
    for index in indexes:
        model, device, backend = index.parts[-4:-1]
        for name in read_json(index)["records"]:
            record = read_json(index.parent / name)
            started.append(record["started_at"])
            finished.append(record["finished_at"])
            environment = record["environment"]
            machine = (str(environment["device_name"]), str(environment["host"]))
            jobs[machine][f"{model} on {device} with {backend}"] = None
            for fact, value in _facts(environment):
                facts[machine].setdefault(fact, {})[value] = None
    machines = [
        {
            "name": machine[0],
            "jobs": list(jobs[machine]),
            "facts": [(name, _joined(values)) for name, values in own.items()],
        }
        for machine, own in facts.items()
    ]
    dates = (min(started)[:10], max(finished)[:10]) if started else None
    return machines, dates


def _joined(values: Iterable[str]) -> str:
    held = list(values)
    more = ["and others"] if len(held) > _MOST_VALUES else []
    return "; ".join(held[:_MOST_VALUES] + more)


def _facts(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values, those of a mapping in it under its name."""
    for key, value in values.items():
        name = f"{before}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _facts(value, f"{name}: ")
        elif key not in _PASSING and value not in (None, "", []):
            yield _fact(key, name, value)


def _fact(key: str, name: str, value: Any) -> tuple[str, str]:
    if key.endswith("_bytes") and isinstance(value, int | float):
        return name.removesuffix(" bytes"), f"{value / 1e9:.1f} GB"
    if isinstance(value, bool):
        return name, "yes" if value else "no"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return name, ", ".join(map(str, value))
    return name, str(value)
