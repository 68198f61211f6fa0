# Figures of pictures and their quality over the steps, one to a rule: what a precision or an engine
# does to them. They read a table and the pictures that were kept, and touch no device.

# What the picture figures compare: lists of the same length, one entry for each compared variant.
REFERENCES = [
    f"<results>/quality/{variant_path(reference)}.npz" for reference, _ in COMPARED
]
OTHERS = [f"<results>/quality/{variant_path(other)}.npz" for _, other in COMPARED]


rule plot_quality_steps:
    "Draw strips of pictures over steps: reference, others and differences."
    input:
        quality="<results>/tables/quality.csv",
        references=REFERENCES,
        others=OTHERS,
        caption=caption("quality_steps"),
    output:
        png=report(
            "<results>/figures/quality_steps.png",
            category="Quality",
            caption="../report/quality_steps.rst",
            labels={"shows": "pictures", "by": "steps"},
        ),
        svg="<results>/figures/quality_steps.svg",
        csv="<results>/figures/quality_steps.csv",
    log:
        "<logs>/plot_quality_steps.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_quality_steps.py"


rule plot_quality_curve:
    "Draw PSNR and SSIM against steps."
    input:
        quality="<results>/tables/quality.csv",
        caption=caption("quality_curve"),
    output:
        png=report(
            "<results>/figures/quality_curve.png",
            category="Quality",
            caption="../report/quality_curve.rst",
            labels={"shows": "PSNR and SSIM", "by": "steps"},
        ),
        svg="<results>/figures/quality_curve.svg",
        csv="<results>/figures/quality_curve.csv",
    log:
        "<logs>/plot_quality_curve.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_quality_curve.py"


rule plot_quality_panel:
    "Draw reference, other and difference at one step."
    input:
        quality="<results>/tables/quality.csv",
        references=REFERENCES,
        others=OTHERS,
        caption=caption("quality_panel"),
    output:
        png=report(
            "<results>/figures/quality_panel.png",
            category="Quality",
            caption="../report/quality_panel.rst",
            labels={"shows": "pictures", "by": "one step"},
        ),
        svg="<results>/figures/quality_panel.svg",
        csv="<results>/figures/quality_panel.csv",
    log:
        "<logs>/plot_quality_panel.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        panel_steps=[quality_entry(other.model).panel_step for _, other in COMPARED],
    script:
        "../scripts/plot_quality_panel.py"


rule plot_quality_animation:
    "Draw reference, other and difference over the steps, as a film."
    input:
        quality="<results>/tables/quality.csv",
        references=REFERENCES,
        others=OTHERS,
        caption=caption("quality_animation"),
    output:
        gif=report(
            "<results>/figures/quality_animation.gif",
            category="Quality",
            caption="../report/quality_animation.rst",
            labels={"shows": "pictures", "by": "steps, as a film"},
        ),
    log:
        "<logs>/plot_quality_animation.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_quality_animation.py"
