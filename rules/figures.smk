# Figures: a rule for each entry of the catalogue. They read tables and the images that were kept, so
# that a figure can be plotted again without touching a device.

from sdbench.cases.expansion import thread_families

# Parameters of scripts that take more than files.
FIGURE_PARAMETERS = {
    "cards": {"model": config["cards_model"]},
    "threads": {"families": thread_families(PLAN.config.devices)},
    "quality_panel": {
        "panel_steps": [
            entry.panel_step
            for entry, (_, others) in zip(PLAN.config.quality, PLAN.quality)
            for _ in others
        ]
    },
}


def plot(name, figure):
    "Make a rule. In a function, since a job evaluates the path of its script again, with this `name`."

    rule:
        "Plot one figure. Its script says what it shows."
        name:
            f"plot_{name}"
        input:
            **tables(*figure.tables),
            **(COMPARED_IMAGES if figure.reads_images else {}),
            **(SET_IMAGES if figure.reads_sets else {}),
            caption=caption(name),
        output:
            **figure_files(name, figure),
        conda:
            "../envs/figures.yaml"
        params:
            **FIGURE_PARAMETERS.get(name, {}),
        script:
            f"../scripts/plot_{name}.py"


for name, figure in FIGURES.items():
    plot(name, figure)
