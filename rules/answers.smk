# What the results say: the post's claims judged, what to use for a need, what fits, and what cards
# would do that are not at hand.

from sdbench.models.architectures import load_architecture
from sdbench.models.described import find_asked, find_descriptions, work_key

ARCHITECTURES = WORKFLOW / "resources/architectures"

# The models that are described, each with its description.
DESCRIPTIONS = find_descriptions(config["models"], ARCHITECTURES)

# How an image of each described model is generated.
ASKED = find_asked(config["models"], ARCHITECTURES)


rule write_findings:
    "Set each claim of the post against the tables."
    input:
        **tables("results", "quality", "races", "published", "advice"),
        references=REFERENCES.values(),
        caption=caption("findings"),
    output:
        table=reported("<results>/tables/findings.csv", "Answers", "findings"),
        text=reported("<results>/findings.md", "Answers", "findings"),
    conda:
        "../envs/tables.yaml"
    params:
        models=list(REFERENCES),
    script:
        "../scripts/write_findings.py"


rule rank_choices:
    "Rank all that was measured or published by what the config says is needed."
    input:
        **tables("results", "published"),
        caption=caption("choices"),
    output:
        table=reported("<results>/tables/choices.csv", "Answers", "choices"),
    conda:
        "../envs/tables.yaml"
    params:
        need=config["need"],
    script:
        "../scripts/rank_choices.py"


rule predict_fits:
    "Say for each model, precision and option the largest batch in each size of memory."
    input:
        **tables("results", "largest"),
        manifests=manifests_of(MODELS),
        predicted="<results>/tables/predicted_memory.csv",
        caption=caption("fits_table"),
    output:
        fits=reported("<results>/tables/fits.csv", "Answers", "fits_table"),
    conda:
        "../envs/tables.yaml"
    params:
        described=DESCRIPTIONS,
    script:
        "../scripts/predict_fits.py"


rule predict_memory:
    "Compute the memory that described models take on a GPU: no weights are read, nothing is measured."
    input:
        architectures=[
            file for file in DESCRIBED if not Path(file).stem.startswith("tiny")
        ],
        parts=DESCRIBED_PARTS,
        vocabulary=resource("tokenizers/bpe_simple_vocab_16e6.txt.gz"),
        computed=resource("computed/memory.json"),
    output:
        memory="<results>/operations/memory.json",
    conda:
        "../envs/pytorch.yaml"
    threads: 2
    params:
        code=code_of("predict_memory.py", "pytorch"),
    script:
        "../scripts/predict_memory.py"


rule collect_predicted_memory:
    "Make the table of the memory that described models take, as it is computed."
    input:
        memory="<results>/operations/memory.json",
    output:
        table=table("predicted_memory"),
    conda:
        "../envs/tables.yaml"
    script:
        "../scripts/collect_predicted_memory.py"


rule count_work:
    "Count what the networks of described models take, for all published rows: no weights are read."
    input:
        published=[resource("published.csv"), *DROPPED_IN],
        architectures=DESCRIBED,
        parts=DESCRIBED_PARTS,
        vocabulary=resource("tokenizers/bpe_simple_vocab_16e6.txt.gz"),
        computed=resource("computed/work.json"),
    output:
        work="<results>/operations/described.json",
    conda:
        "../envs/pytorch.yaml"
    params:
        asked=[
            work_key(load_architecture(ARCHITECTURES / f"{name}.yaml"), generation)
            for name, generation in ASKED.items()
        ],
    script:
        "../scripts/count_work.py"


rule give_advice:
    "Say what every card would take for every described model: measured, published or predicted."
    input:
        results="<results>/tables/results.csv",
        published=[resource("published.csv"), *DROPPED_IN],
        memory="<results>/tables/predicted_memory.csv",
        described="<results>/operations/described.json",
        architectures=DESCRIBED,
        parts=DESCRIBED_PARTS,
        datasheets=resource("datasheets/gpus.csv"),
        caption=caption("advice"),
    output:
        advice=reported("<results>/tables/advice.csv", "Answers", "advice"),
    # The longest of what the page waits for when all is measured.
    priority: 1
    conda:
        "../envs/tables.yaml"
    params:
        asked=ASKED,
        models=DESCRIPTIONS,
        cards=config["cards"],
        prices=PRICES,
        currency=config["currency"],
    script:
        "../scripts/give_advice.py"
