# The page: one file that opens offline, made of tables, figures, images and records.

PAGE_FIGURES = [
    name for name, figure in SHOWN_FIGURES.items() if "svg" in figure.formats
]


rule write_page:
    "Make the page that answers the question: one file, to be opened offline."
    input:
        **tables("results", "published", "noise", "cases", "quality"),
        **tables("findings", "choices", "advice", "quality_set", "quality_pairs"),
        references=COMPARED_IMAGES["references"],
        others=COMPARED_IMAGES["others"],
        set_references=SET_IMAGES["references"],
        set_others=SET_IMAGES["others"],
        # The machines are in the records.
        indexes=INDEXES,
        figures=collect("<results>/figures/{figure}.svg", figure=PAGE_FIGURES),
        captions=[caption(figure) for figure in PAGE_FIGURES],
        method=in_workflow("docs/method.md"),
    output:
        page="<results>/report.html",
    conda:
        "../envs/page.yaml"
    params:
        version=VERSION,
        notes=list(FOUND.notes) if FOUND else [],
    script:
        "../scripts/write_page.py"
