"""Everything that a config asks for, expanded and checked: what the rules are made from.

Light, for the Snakefile.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sdbench.cases import expansion
from sdbench.cases.case import Case, Pair, Variant
from sdbench.cases.expansion import Absent
from sdbench.cases.options import TUNED
from sdbench.config.check import Config, check_campaigns
from sdbench.config.files import find_path, locate
from sdbench.devices.datasheets import check_cards
from sdbench.models.architectures import load_architecture
from sdbench.models.computed import Peaks
from sdbench.models.reading import Contents, read_folder
from sdbench.models.room import computed_peaks, was_made, without_room
from sdbench.runtime.errors import UserError, plain

Place = tuple[str, str, str]
"""Model, device and backend: what one job measures together (`Variant.place`)."""
Item = TypeVar("Item")


class ByPlace(dict[Place, list[Item]]):
    """Items, each given after its variant, by job; there is an empty list for any other job."""

    def __init__(self, items: Iterable[tuple[Variant, Item]]) -> None:
        for variant, item in items:
            self.setdefault(variant.place, []).append(item)

    def __missing__(self, place: Place) -> list[Item]:
        return []


@dataclass(frozen=True)
class ImageSet:
    """A set of images: of each of `wanted`, a prompt, its number and a seed, one by each variant.

    `wanted` is empty where nothing is generated: what was is in the archives.
    """

    entry: expansion.SetEntry
    reference: Variant
    others: Sequence[Variant]
    wanted: Sequence[tuple[str, int, int]]

    @property
    def variants(self) -> list[Variant]:
        """The reference and the others."""
        return [self.reference, *self.others]


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    `config` is what all of it follows from. `cases` and `absent` are the cells of the matrix.
    `quality` has for each entry of that section its reference and the variants to compare with it,
    and `sets` what each of `quality_set` asks for, by its model.
    `folders` are what those of local models hold. `searches` are the variants whose largest batch
    is searched for, each with the cap of its search. `variants` are all that any of this runs, but
    for the references of races. `too_large` are the models that no device has room for: they are
    neither built nor downloaded, and all that is asked of them is `unsupported`. `peaks` are
    what is computed of the models of jobs on CUDA GPUs.
    """

    config: expansion.RunConfig
    cases: Sequence[Case]
    absent: Sequence[Absent]
    quality: Sequence[tuple[Variant, Sequence[Variant]]]
    sets: Mapping[str, ImageSet]
    races: Sequence[Pair]
    folders: Mapping[str, Contents]
    searches: Mapping[Variant, int]
    variants: frozenset[Variant]
    too_large: frozenset[str]
    peaks: Mapping[Place, Peaks]

    @cached_property
    def compared(self) -> list[tuple[Variant, Variant]]:
        """Every compared variant after its reference."""
        return [(reference, other) for reference, others in self.quality for other in others]

    @cached_property
    def images(self) -> dict[Variant, dict[str, Any]]:
        """What each variant generates to compare, as `generate_images` takes it."""
        none = {"runs": [], "trajectory_steps": 0, "spread": [], "wanted": [], "batch_size": 1}
        found: dict[Variant, dict[str, Any]] = {}
        for entry, (reference, others) in zip(self.config.quality, self.quality, strict=True):
            series = {
                "runs": entry.run_steps,
                "trajectory_steps": entry.trajectory_steps,
                "spread": entry.spread,
            }
            found |= {variant: none | series for variant in (reference, *others)}
        for of_set in self.sets.values():
            wanted = {"wanted": of_set.wanted, "batch_size": of_set.entry.batch_size}
            found |= {variant: found.get(variant, none) | wanted for variant in of_set.variants}
        return {v: {"case": self.config.case(v).as_dict(), **asked} for v, asked in found.items()}

    @cached_property
    def cases_at(self) -> ByPlace[Case]:
        """The cases that each job measures. Made once: there may be ten thousand of them."""
        return ByPlace((case.variant, case) for case in self.cases)

    @cached_property
    def races_at(self) -> ByPlace[Pair]:
        """The races that each job runs."""
        return ByPlace((race.case.variant, race) for race in self.races)

    @cached_property
    def measured_or_raced(self) -> list[Variant]:
        """The variants of all cases and races, job by job, some of them more than once."""
        cases = [case.variant for cases in self.cases_at.values() for case in cases]
        return cases + sides(race for races in self.races_at.values() for race in races)

    @cached_property
    def searches_at(self) -> ByPlace[dict[str, Any]]:
        """The searches for a largest batch of each job, as `measure_sweep` takes them."""
        return ByPlace(
            (variant, {"variant": variant.as_dict(), "cap": cap})
            for variant, cap in self.searches.items()
        )

    @cached_property
    def tuned_at(self) -> ByPlace[Case]:
        """The cases, of one image, whose settings each job searches for, those outside the matrix
        included."""
        tuned = (variant for variant in sorted(self.variants) if TUNED in variant.switches)
        return ByPlace((variant, self.config.case(variant)) for variant in tuned)


def sides(races: Iterable[Pair]) -> list[Variant]:
    """Return both sides of each race, the challenger first."""
    return [side for race in races for side in (race.case.variant, race.reference)]


def check_sources(
    models: Mapping[str, Any], workflow: Path, architectures: Path, files: Sequence[Path] = ()
) -> dict[str, Contents]:
    """Check the source of every model as far as that can be done without a network; return what
    local folders hold, by the name of their model.

    Raises:
        UserError: if a local folder is missing or holds nothing that can be measured
            (`read_folder`), or the architecture of a seeded model is missing or wrong.
    """
    found = {}
    for name, model in models.items():
        source = model["source"]
        try:
            if "local" in source:
                found[name] = read_folder(find_path(source["local"], workflow))
            elif "seeded" in source:
                load_architecture(architectures / f"{source['seeded']}.yaml")
        except (UserError, OSError) as error:
            where = locate(["models", name, "source"], files)
            reason = str(error)
            if isinstance(error, OSError):  # a name that is too long, a file of someone else
                named = plain(error.filename, 300)
                reason = f"{named}: {error.strerror}: use a folder that can be read"
            raise UserError(f"{where}: {reason}") from None
    return found


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file, one in each line that is not blank.

    Raises:
        UserError: if it cannot be read, is too large, or has no prompts, one that is too long or
            has control characters, or the same twice. It names the line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: use a file that can be read") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start}: not UTF-8: save it as UTF-8 text") from None
    if len(data) > MOST_BYTES:
        raise UserError(f"{path}: more than {MOST_BYTES:,} bytes; allowed is less: shorten it")
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    first: dict[str, int] = {}
    for n, line in lines:
        where = f"{path}: line {n}: found {plain(line, 40)!r}"
        if len(line) > LONGEST_PROMPT:
            raise UserError(
                f"{where}, {len(line):,} characters; allowed are {LONGEST_PROMPT:,}: shorten it"
            )
        if not line.isprintable():
            raise UserError(f"{where}; allowed is text without control characters: change it")
        if line in first:
            raise UserError(f"{where}, as line {first[line]} has it; allowed is once: remove one")
        first[line] = n
    if not 0 < len(lines) <= MOST_PROMPTS:
        raise UserError(f"{path}: found {len(lines):,} prompts; allowed are 1 to {MOST_PROMPTS:,}")
    return list(first)


MOST_PAIRS = 100_000
"""Of a set, as the schema has it."""
MOST_BYTES, MOST_PROMPTS, LONGEST_PROMPT = 4_000_000, 10_000, 1000
"""Of a file of prompts, as the schema has them for a list."""


def _image_sets(
    config: expansion.RunConfig, workflow: Path, files: Sequence[Path], records_only: bool
) -> dict[str, ImageSet]:
    sets = {}
    for i, (entry, (reference, others)) in enumerate(
        zip(config.quality_set, expansion.expand_sets(config), strict=True)
    ):
        where: list[str | int] = ["quality_set", i]
        wanted: list[tuple[str, int, int]] = []
        if not records_only:
            prompts = entry.prompts
            try:
                if isinstance(prompts, str):
                    prompts = read_prompts(find_path(prompts, workflow))
            except UserError as error:
                raise UserError(f"{locate([*where, 'prompts'], files)}: {error}") from None
            most = len(prompts) * len(entry.seeds)
            if (entry.pairs or most) > min(most, MOST_PAIRS):
                raise UserError(
                    f"{locate([*where, 'pairs'], files)}: found {entry.pairs or most:,}; allowed "
                    f"are {min(most, MOST_PAIRS):,}, of {len(prompts):,} prompts and "
                    f"{len(entry.seeds):,} seeds: change one of them"
                )
            every = ((p, n, seed) for seed in entry.seeds for n, p in enumerate(prompts))
            wanted = list(itertools.islice(every, entry.pairs or most))
        sets[entry.model] = ImageSet(entry, reference, others, wanted)
    return sets


def make_plan(
    config: Config, files: Sequence[Path], workflow: Path, models: Path, elsewhere: bool
) -> Plan:
    """Expand a complete config, and check what its schema cannot.

    `workflow` is the folder of the Snakefile; `models` holds manifests, which may not be made yet;
    `elsewhere` says whether jobs may run on other machines than this one.

    Raises:
        UserError: if the source of a model or a campaign of published results does not exist, or no
            cell of the matrix can.
    """
    architectures = workflow / "resources/architectures"
    folders = {}
    if not config["records_only"]:
        folders = check_sources(config["models"], workflow, architectures, files)
    run = expansion.RunConfig.of(config)
    cases, absent = expansion.expand_matrix(run)
    quality = expansion.expand_quality(run)
    races = expansion.expand_races(run)
    sets = _image_sets(run, workflow, files, config["records_only"])
    variants = {case.variant for case in cases}.union(
        *([reference, *others] for reference, others in quality),
        *(found.variants for found in sets.values()),
        (race.case.variant for race in races),
    )
    raced = set(sides(races))
    asked = variants | raced
    peaks: dict[Place, Peaks] = {}
    if config["records_only"]:  # the machine that measured knew
        named = {variant.model for variant in asked}
        too_large = {model for model in named if not was_made(models / f"{model}.json")}
    else:
        computed = workflow / "resources/computed/memory.json"
        peaks = computed_peaks(config, variants, architectures, computed)
        too_large = without_room(config, asked, peaks, raced, architectures, models, elsewhere)
    check_campaigns(config, workflow / "resources/published.csv", files)
    check_cards(config["cards"], workflow / "resources/datasheets/gpus.csv", files)
    if not cases:
        raise UserError(
            f"{locate(['matrix'], files)}: no combination can exist; reason of the first: "
            f"{absent[0].reason}: change devices, backends, precisions or options"
        )
    searches = expansion.expand_searches(run)
    return Plan(
        config=run,
        cases=cases,
        absent=absent,
        quality=quality,
        sets=sets,
        races=races,
        folders=folders,
        searches=searches,
        variants=frozenset(variants),
        too_large=frozenset(too_large),
        peaks=peaks,
    )
