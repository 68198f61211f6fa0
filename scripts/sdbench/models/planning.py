"""Everything that a config asks for, expanded and checked: what the rules are made from.

Light, for the Snakefile.
"""

from collections import defaultdict
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
from sdbench.models.reading import Contents, read_folder
from sdbench.models.room import was_made, without_room
from sdbench.runtime.errors import UserError, plain

Place = tuple[str, str, str]
"""Model, device and backend: what one job measures together (`Variant.place`)."""
Item = TypeVar("Item")


def _by_place(items: Iterable[tuple[Variant, Item]]) -> dict[Place, list[Item]]:
    """Sort items, each after its variant, by job; there is an empty list for any other job."""
    found = defaultdict(list)
    for variant, item in items:
        found[variant.place].append(item)
    return found


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    `config` is what all of it follows from. `cases` and `absent` are the cells of the matrix.
    `quality` has for each entry of that section its reference and the variants to compare with it.
    `folders` are what those of local models hold. `searches` are the variants whose largest batch
    is searched for, each with the cap of its search. `variants` are all that any of this runs, but
    for the references of races. `too_large` are the models that no device has room for: they are
    neither built nor downloaded, and all that is asked of them is `unsupported`.
    """

    config: expansion.RunConfig
    cases: Sequence[Case]
    absent: Sequence[Absent]
    quality: Sequence[tuple[Variant, Sequence[Variant]]]
    races: Sequence[Pair]
    folders: Mapping[str, Contents]
    searches: Mapping[Variant, int]
    variants: frozenset[Variant]
    too_large: frozenset[str]

    @cached_property
    def compared(self) -> list[tuple[Variant, Variant]]:
        """Every compared variant after its reference."""
        return [(reference, other) for reference, others in self.quality for other in others]

    @cached_property
    def cases_at(self) -> dict[Place, list[Case]]:
        """The cases that each job measures. Made once: there may be ten thousand of them."""
        return _by_place((case.variant, case) for case in self.cases)

    @cached_property
    def races_at(self) -> dict[Place, list[Pair]]:
        """The races that each job runs."""
        return _by_place((race.case.variant, race) for race in self.races)

    @cached_property
    def measured_or_raced(self) -> list[Variant]:
        """The variants of all cases and races, job by job, some of them more than once."""
        cases = [case.variant for cases in self.cases_at.values() for case in cases]
        return cases + sides(race for races in self.races_at.values() for race in races)

    @cached_property
    def searches_at(self) -> dict[Place, list[Variant]]:
        """The variants whose largest batch each job searches for."""
        return _by_place((variant, variant) for variant in self.searches)

    @cached_property
    def tuned_at(self) -> dict[Place, list[Variant]]:
        """The variants whose settings each job searches for, those outside the matrix included."""
        return _by_place((v, v) for v in sorted(self.variants) if TUNED in v.switches)


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
    variants = {case.variant for case in cases}.union(
        *([reference, *others] for reference, others in quality),
        (race.case.variant for race in races),
    )
    asked = variants.union(sides(races))
    if config["records_only"]:  # the machine that measured knew
        named = {variant.model for variant in asked}
        too_large = {model for model in named if not was_made(models / f"{model}.json")}
    else:
        too_large = without_room(config, asked, architectures, models, elsewhere)
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
        races=races,
        folders=folders,
        searches=searches,
        variants=frozenset(variants),
        too_large=frozenset(too_large),
    )
