# What a job reads, by its wildcards. Names that read as English, so that the rules do.

VARIANT = "{model}/{device}/{backend}/{precision}/{options}"
COMPARED = [(reference, other) for reference, others in PAIRS for other in others]
DRAWN = [variant for reference, others in PAIRS for variant in [reference, *others]]


def variant_path(variant):
    return VARIANT.format(**vars(variant))


def sweep_of(variant):
    return variant.model, variant.device, variant.backend


def is_tuned(options):
    return TUNED in parse_options(options)


def graphs_of(variant):
    "Return the record of the exported networks that a variant reads, if it reads any."
    graphs = None if variant.model in UNMADE else variant.graphs
    return [] if graphs is None else [f"<results>/{graphs}/{variant.model}.json"]


# (model, device, backend) of every job that measures -> what it measures. Made once: a campaign may
# have a hundred such jobs and ten thousand cases.
SWEEP_CASES, SWEEP_SEARCHES = defaultdict(list), defaultdict(list)
SWEEP_GRAPHS = defaultdict(dict)
for case in CASES:
    SWEEP_CASES[sweep_of(case.variant)].append(case.as_dict())
    SWEEP_GRAPHS[sweep_of(case.variant)].update(dict.fromkeys(graphs_of(case.variant)))
# Pictures of a tuned variant may be drawn, and it may be raced, where the matrix does not have it.
SWEEP_TUNED = defaultdict(list)
for variant in sorted(VARIANTS):
    if is_tuned(variant.options):
        SWEEP_TUNED[sweep_of(variant)].append(variant)
for variant, cap in expand_searches(PLAN).items():
    SWEEP_SEARCHES[sweep_of(variant)].append({"variant": variant.as_dict(), "cap": cap})
SWEEP_INDEXES = [
    f"<results>/records/{model}/{device}/{backend}/index.json"
    for model, device, backend in SWEEP_CASES
]

# The same of the races.
RACE_PAIRS, RACE_GRAPHS = defaultdict(list), defaultdict(dict)
for race in RACES:
    RACE_PAIRS[sweep_of(race.case.variant)].append(race.as_dict())
    read = graphs_of(race.case.variant) + graphs_of(race.reference)
    RACE_GRAPHS[sweep_of(race.case.variant)].update(dict.fromkeys(read))
RACE_INDEXES = [
    f"<results>/races/{model}/{device}/{backend}/index.json"
    for model, device, backend in RACE_PAIRS
]


def operations_of(model, generation):
    "Return the operations of a model's networks for one picture of a size in pixels."
    return f"<results>/operations/{model}/{generation['width']}x{generation['height']}.json"


def caption(figure):
    "Return the words that stand beside a figure in the report: both are made anew together."
    return in_workflow(f"report/{figure}.rst")


def model_folder(wildcards):
    source = config["models"][wildcards.model]["source"]
    return (
        in_workflow(source["local"])
        if "local" in source
        else f"<results>/models/{wildcards.model}"
    )


def model_with_room(wildcards):
    "Return the folder of a model, or none where no device that it is asked for on has room for it."
    return [] if wildcards.model in UNMADE else model_folder(wildcards)


def made_model(wildcards):
    "Return the folder of a model; what is made of one that is not made itself is refused."
    if wildcards.model in UNMADE:
        refuse(
            f"{wildcards.model}: no device that it is asked for on has room for it, so it is not "
            "made: ask for it on a larger device"
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
    name = find_architecture(source, ARCHITECTURES).path.name
    return resource(f"architectures/{name}")


def architecture_parts(wildcards):
    "The descriptions of those of its networks that other models have too."
    return parts_of(Path(architecture_file(wildcards)))


def local_files(wildcards):
    "The files of a local model: unlike its folder, their dates tell when it has changed."
    local = "local" in config["models"][wildcards.model]["source"]
    folder = Path(model_folder(wildcards))
    return [folder / file for file in model_files(folder)] if local else []


def has_int8_weights(wildcards):
    return wildcards.weights == INT8_GRAPHS


def measured_graphs(wildcards):
    return list(SWEEP_GRAPHS[sweep_of(wildcards)])


def raced_graphs(wildcards):
    return list(RACE_GRAPHS[sweep_of(wildcards)])


def raced_pairs(wildcards):
    return RACE_PAIRS[sweep_of(wildcards)]


def race_code(wildcards):
    "Return the digest of the code of a race, with the backends of both sides."
    references = {pair["reference"]["backend"] for pair in raced_pairs(wildcards)}
    return code_of("race_denoisers.py", *sorted({wildcards.backend, *references}))


def drawn_graphs(wildcards):
    return graphs_of(Variant(**wildcards))


def settings_of(sweep):
    "Return what the search for settings found, if a variant of the sweep asks for it."
    model, device, backend = sweep
    found = f"<results>/settings/{model}/{device}/{backend}.json"
    return [found] if sweep in SWEEP_TUNED and model not in UNMADE else []


def measured_settings(wildcards):
    tuned = {case["variant"]["options"] for case in sweep_cases(wildcards)}
    return settings_of(sweep_of(wildcards)) if any(map(is_tuned, tuned)) else []


def raced_settings(wildcards):
    raced = {pair["case"]["variant"]["options"] for pair in raced_pairs(wildcards)}
    return settings_of(sweep_of(wildcards)) if any(map(is_tuned, raced)) else []


def drawn_settings(wildcards):
    return settings_of(sweep_of(wildcards)) if is_tuned(wildcards.options) else []


def tuned_cases(wildcards):
    "Return the cases, of one picture, whose settings are searched."
    return [PLAN.case(v).as_dict() for v in SWEEP_TUNED[sweep_of(wildcards)]]


def tuned_graphs(wildcards):
    read = [graphs_of(variant) for variant in SWEEP_TUNED[sweep_of(wildcards)]]
    return list(dict.fromkeys(sum(read, [])))


def sweep_cases(wildcards):
    return SWEEP_CASES[sweep_of(wildcards)]


def sweep_searches(wildcards):
    return SWEEP_SEARCHES[sweep_of(wildcards)]


def counted_generation(wildcards):
    "What decides how much one picture takes to compute, of the size that the file is named by."
    generation = config["models"][wildcards.model]["generation"]
    size = {"height": int(wildcards.height), "width": int(wildcards.width)}
    return {key: generation[key] for key in ("prompt", "guidance")} | size


def measured_entry(wildcards):
    "What of a device's entry in the config can move a measurement."
    return vars(PLAN.devices[wildcards.device])


def environment_file(wildcards):
    return in_workflow(f"envs/{wildcards.backend}.yaml")


def quality_entry(model):
    return next(entry for entry in PLAN.quality if entry.model == model)


def drawn_case(wildcards):
    "Return the case that the pictures of a variant are drawn as."
    return PLAN.case(Variant(**wildcards)).as_dict()


def profiled_case(wildcards):
    "Return the case that a profile is asked of, which the matrix need not have."
    names = dict(wildcards)
    size = int(names.pop("batch_size"))
    try:
        return name_case(PLAN, SCHEMA, Variant(**names), size).as_dict()
    except UserError as error:
        refuse(f"results/profile/{'/'.join(names.values())}/batch-{size}.csv: {error}")


def profiled_model(wildcards):
    profiled_case(
        wildcards
    )  # a name of nothing is refused before its folder is looked for
    return model_folder(wildcards)


def quality_runs(wildcards):
    entry = quality_entry(wildcards.model)
    count = entry.trajectory_steps
    return list(range(1, count + 1)) if entry.runs == "all" else sorted(entry.runs)


def trajectory_steps(wildcards):
    return quality_entry(wildcards.model).trajectory_steps


def reference_pictures(wildcards):
    reference = next(ref for ref, _ in PAIRS if ref.model == wildcards.model)
    return f"<results>/quality/{variant_path(reference)}.npz"
