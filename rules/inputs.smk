# What a job reads, by its wildcards. Names that read as English, so that the rules do.

import re

from sdbench.cases.case import Variant
from sdbench.cases.options import TUNED
from sdbench.config.check import name_case
from sdbench.report.figures.catalogue import FIGURES
from sdbench.models.architectures import find_architecture, parts_of
from sdbench.cases.measuring import Racing, Watching
from sdbench.models.planning import sides

VARIANT = "{model}/{device}/{backend}/{precision}/{options}"


def unique(items):
    return list(dict.fromkeys(items))


def images_of(variant):
    return f"<results>/quality/{VARIANT.format(**vars(variant))}.npz"


def images_of_pairs(pairs):
    "Return the images of references and of what is compared with each: lists of the same length."
    return {
        "references": [images_of(reference) for reference, _ in pairs],
        "others": [images_of(other) for _, other in pairs],
    }


COMPARED_IMAGES = images_of_pairs(PLAN.compared)
SET_IMAGES = images_of_pairs(
    [(found.reference, v) for found in PLAN.sets.values() for v in found.others]
)

# An index for each job that measures, and for each that races.
INDEXES = [f"<results>/records/{'/'.join(place)}/index.json" for place in PLAN.cases_at]
RACE_INDEXES = [
    f"<results>/races/{'/'.join(place)}/index.json" for place in PLAN.races_at
]


def resource_files(pattern):
    folder = WORKFLOW / "resources"
    return sorted(
        resource(file.relative_to(folder).as_posix()) for file in folder.glob(pattern)
    )


def peaks_of(places):
    "Return the peaks of the devices that jobs measure on."
    return unique(f"<results>/peak_throughput/{device}.json" for _, device, _ in places)


def manifests_of(models):
    return unique(f"<results>/models/{model}.json" for model in models)


def generated_as(model, *keys):
    "Return what tables have as columns of how images are generated."
    return {key: config["models"][model]["generation"][key] for key in keys}


# What an hour of each device costs.
PRICES = {name: device["price_per_hour"] for name, device in config["devices"].items()}

# Tables and races that others exported on their machines: whatever lies there is shown.
DROPPED_IN = [
    file for file in resource_files("[!.]*.csv") if file != resource("published.csv")
]
RACES_DROPPED_IN = resource_files("races/*.csv")

# The models that are known without their weights.
DESCRIBED = resource_files("architectures/*.yaml")
DESCRIBED_PARTS = resource_files("architectures/parts/*.yaml")

# The ladder is a figure of races, own or of other machines.
SHOWN_FIGURES = {
    name: figure
    for name, figure in FIGURES.items()
    if name != "ladder" or PLAN.races or RACES_DROPPED_IN
}


def caption(name):
    "Return the caption of a figure in the report: both are made again together."
    return in_workflow(f"report/{name}.rst")


def reported(path, category, name, labels=None):
    "Return an output that Snakemake's report shows, with the caption of that name."
    return report(
        path, category=category, caption=f"../report/{name}.rst", labels=labels
    )


def tables(*names):
    "Return tables as inputs that have their names."
    return {name: f"<results>/tables/{name}.csv" for name in names}


def table(name):
    return reported(f"<results>/tables/{name}.csv", "Tables", name)


def figure_files(name, figure):
    "Return the files of a figure by their formats; Snakemake's report shows the first."
    files = {format: f"<results>/figures/{name}.{format}" for format in figure.formats}
    shown = figure.formats[0]
    labels = {"shows": figure.shows, "by": figure.by}
    return files | {shown: reported(files[shown], figure.category, name, labels)}


def operations_of(model, generation):
    "Return the operations of a model's networks for one image of a size in pixels."
    return f"<results>/operations/{model}/{generation['width']}x{generation['height']}.json"


# The models of all cases, and the images that those of others of a model are compared with.
MODELS = unique(model for model, _, _ in PLAN.cases_at)
REFERENCES = {reference.model: images_of(reference) for reference, _ in PLAN.quality}

# The operations that utilization is computed from, of cases and of races.
OPERATIONS = [
    operations_of(model, config["models"][model]["generation"])
    for model in MODELS
    if model not in PLAN.too_large
]
RACE_OPERATIONS = unique(
    operations_of(race.case.variant.model, race.case.generation)
    for race in PLAN.races
    if race.case.variant.model not in PLAN.too_large
)


def model_folder(wildcards):
    "Return the folder of a model; another than the config's is refused."
    if wildcards.model not in config["models"]:
        known = ", ".join(config["models"])
        refuse(
            f"found a model {wildcards.model}; allowed is one of the config: {known}"
        )
    source = config["models"][wildcards.model]["source"]
    return (
        str(find_path(source["local"], Path(PREFIX)))
        if "local" in source
        else f"<results>/models/{wildcards.model}"
    )


def model_if_it_fits(wildcards):
    "Return the folder of a model, or none where no device that it is asked for on has room for it."
    return [] if wildcards.model in PLAN.too_large else model_folder(wildcards)


def model_that_fits(wildcards):
    "Return the folder of a model; what is made of one that is not made itself is refused."
    if wildcards.model in PLAN.too_large:
        refuse(
            f"{wildcards.model}: it fits on none of its devices, so it is not built: add a larger "
            "device"
        )
    return model_folder(wildcards)


def one_of(models):
    "Return a pattern that matches these names of models."
    return "|".join(map(re.escape, models)) or "(?!)"


def models_from(source):
    "Return a pattern that matches the names of the models with this kind of source."
    models = config["models"].items()
    return one_of(name for name, model in models if source in model["source"])


def architecture_file(wildcards):
    "The description of the networks of a seeded model, or of one of a hub that is known."
    source = config["models"][wildcards.model]["source"]
    name = find_architecture(source, WORKFLOW / "resources/architectures").path.name
    return resource(f"architectures/{name}")


def architecture_parts(wildcards):
    "The descriptions of those of its networks that other models have too."
    return parts_of(Path(architecture_file(wildcards)))


def local_files(wildcards):
    "The files of a local model: unlike its folder, their dates tell when it has changed."
    found = PLAN.folders.get(wildcards.model)
    folder = Path(model_folder(wildcards))
    return [folder / file for file in found.files] if found else []


def place_of(wildcards):
    "Return what one job measures together, as `Variant.place` does."
    return wildcards.model, wildcards.device, wildcards.backend


# The variants of a job, by its wildcards.


def measured(wildcards):
    return unique(case.variant for case in PLAN.cases_at[place_of(wildcards)])


def tuned(wildcards):
    return [case.variant for case in PLAN.tuned_at[place_of(wildcards)]]


def raced(wildcards):
    return [race.case.variant for race in PLAN.races_at[place_of(wildcards)]]


def raced_with_references(wildcards):
    return sides(PLAN.races_at[place_of(wildcards)])


def generated(wildcards):
    return [Variant(**wildcards)]


def graph_records(variants):
    "Return the records of the exported networks that variants read, if they read any."
    return unique(
        f"<results>/{variant.graphs}/{variant.model}.json"
        for variant in variants
        if variant.graphs and variant.model not in PLAN.too_large
    )


def graphs_of(variants):
    "Return an input: the records of the exported networks that the variants of a job read."
    return lambda wildcards: graph_records(variants(wildcards))


def settings_of(variants):
    "Return an input: what the search for settings found, if a variant of a job asks for it."

    def settings(wildcards):
        found = f"<results>/settings/{'/'.join(place_of(wildcards))}.json"
        asked = any(TUNED in variant.switches for variant in variants(wildcards))
        searched = tuned(wildcards) and wildcards.model not in PLAN.too_large
        return [found] if asked and searched else []

    return settings


def as_dicts(by_place, what):
    "Return a parameter: the cases or races of a job. One that has none is refused."

    def found(wildcards):
        place = place_of(wildcards)
        if not by_place[place]:
            refuse(
                f"{'/'.join(place)}: found no {what} there; allowed is a job of the config"
            )
        return [one.as_dict() for one in by_place[place]]

    return found


def computed_memory(wildcards):
    "Return the memory that is computed of the model of a job, if it runs on a CUDA GPU."
    return PLAN.peaks.get(place_of(wildcards), {})


def race_code(wildcards):
    "Return the digest of the code of a race, with the backends of both sides."
    backends = {variant.backend for variant in raced_with_references(wildcards)}
    return code_of("race_denoisers.py", *sorted({wildcards.backend, *backends}))


def counted_generation(wildcards):
    "What decides how much one image takes to compute, of the size that the file is named by."
    generation = config["models"][wildcards.model]["generation"]
    size = {"height": int(wildcards.height), "width": int(wildcards.width)}
    return {key: generation[key] for key in ("prompt", "guidance")} | size


def environment_file(wildcards):
    return in_workflow(f"envs/{wildcards.backend}.yaml")


def generated_images(wildcards):
    "Return what a variant generates; one that the config does not compare is refused."
    variant = Variant(**wildcards)
    if variant not in PLAN.images:
        refuse(
            f"{'/'.join(wildcards)}: no images are compared there; allowed is a variant of the "
            "config's `quality` or `quality_set`"
        )
    return PLAN.images[variant]


def profiled_case(wildcards):
    "Return the case that a profile is asked of, which the matrix need not have."
    names = dict(wildcards)
    size = int(names.pop("batch_size"))
    try:
        return name_case(PLAN.config, SCHEMA, Variant(**names), size).as_dict()
    except UserError as error:
        refuse(f"results/profile/{'/'.join(names.values())}/batch-{size}.csv: {error}")


def profiled_model(wildcards):
    profiled_case(wildcards)  # refuses what does not exist, before its folder is sought
    return model_folder(wildcards)


def judge_of(wildcards):
    "Return the folder of the model that judges, where one does."
    judge = PLAN.sets[wildcards.model].entry.judge
    return [] if isinstance(judge, str) else f"<results>/judges/{wildcards.model}"


def named_judge(wildcards):
    return PLAN.sets[wildcards.model].entry.judge
