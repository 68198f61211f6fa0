# How the bundled model `shapes` was trained, and how good its images are. No other rule needs these:
#   snakemake --cores 2 train_shapes plot_shapes_loss
#   cp -r results/shapes/model/. resources/models/shapes/
#   snakemake --cores 1 score_shapes


rule train_shapes:
    "Train the small Stable Diffusion that generates coloured shapes. A stopped training is carried on."
    output:
        model=directory("<results>/shapes/model"),
        losses="<results>/shapes/loss.csv",
    conda:
        "../envs/pytorch.yaml"
    threads: 2
    resources:
        mem_mb=3000,
        runtime=240,
    params:
        seed=0,
    script:
        "../scripts/train_shapes.py"


rule plot_shapes_loss:
    "Plot the loss of the training of `shapes`."
    input:
        losses="<results>/shapes/loss.csv",
    output:
        png="<results>/shapes/loss.png",
        svg="<results>/shapes/loss.svg",
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_shapes_loss.py"


rule score_shapes:
    "Generate images of 200 captions with the bundled `shapes` at its defaults, and read the images back."
    input:
        model=resource("models/shapes"),
    output:
        scores="<results>/shapes/scores.json",
        sheet="<results>/shapes/images.png",
    conda:
        "../envs/pytorch.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        captions=200,
        seed=0,
        # As in config/config.yaml.
        steps=20,
        guidance=4.0,
    script:
        "../scripts/score_shapes.py"
