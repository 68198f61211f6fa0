# All figures but those of pictures and their quality, one to a rule. They read tables only, so that a
# figure can be drawn again without touching a device.


rule plot_speed:
    "Draw seconds per image at batch 1, by device and precision."
    input:
        results="<results>/tables/results.csv",
        published="<results>/tables/published.csv",
        caption=caption("speed"),
    output:
        png=report(
            "<results>/figures/speed.png",
            category="Speed",
            caption="../report/speed.rst",
            labels={"shows": "time per image", "by": "device and precision"},
        ),
        svg="<results>/figures/speed.svg",
        csv="<results>/figures/speed.csv",
    log:
        "<logs>/plot_speed.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_speed.py"


rule plot_devices:
    "Draw seconds per image of every device at its best settings."
    input:
        results="<results>/tables/results.csv",
        published="<results>/tables/published.csv",
        caption=caption("devices"),
    output:
        png=report(
            "<results>/figures/devices.png",
            category="Speed",
            caption="../report/devices.rst",
            labels={"shows": "time per image", "by": "device, best settings"},
        ),
        svg="<results>/figures/devices.svg",
        csv="<results>/figures/devices.csv",
    log:
        "<logs>/plot_devices.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_devices.py"


rule plot_memory:
    "Draw the memory that one image needs, each counter apart."
    input:
        results="<results>/tables/results.csv",
        published="<results>/tables/published.csv",
        caption=caption("memory"),
    output:
        png=report(
            "<results>/figures/memory.png",
            category="Memory",
            caption="../report/memory.rst",
            labels={"shows": "memory", "by": "device and precision"},
        ),
        svg="<results>/figures/memory.svg",
        csv="<results>/figures/memory.csv",
    log:
        "<logs>/plot_memory.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_memory.py"


rule plot_throughput:
    "Draw images per minute at the largest batch of each device and precision."
    input:
        results="<results>/tables/results.csv",
        published="<results>/tables/published.csv",
        caption=caption("throughput"),
    output:
        png=report(
            "<results>/figures/throughput.png",
            category="Throughput",
            caption="../report/throughput.rst",
            labels={"shows": "images per minute", "by": "device and precision"},
        ),
        svg="<results>/figures/throughput.svg",
        csv="<results>/figures/throughput.csv",
    log:
        "<logs>/plot_throughput.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_throughput.py"


rule plot_batch_throughput:
    "Draw images per minute against batch size, up to where memory ends."
    input:
        results="<results>/tables/results.csv",
        published="<results>/tables/published.csv",
        caption=caption("batch_throughput"),
    output:
        png=report(
            "<results>/figures/batch_throughput.png",
            category="Throughput",
            caption="../report/batch_throughput.rst",
            labels={"shows": "images per minute", "by": "batch size"},
        ),
        svg="<results>/figures/batch_throughput.svg",
        csv="<results>/figures/batch_throughput.csv",
    log:
        "<logs>/plot_batch_throughput.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_batch_throughput.py"


rule plot_autocast_speed:
    "Draw seconds per image with and without autocast."
    input:
        results="<results>/tables/results.csv",
        caption=caption("autocast_speed"),
    output:
        png=report(
            "<results>/figures/autocast_speed.png",
            category="Speed",
            caption="../report/autocast_speed.rst",
            labels={"shows": "time per image", "by": "autocast"},
        ),
        svg="<results>/figures/autocast_speed.svg",
        csv="<results>/figures/autocast_speed.csv",
    log:
        "<logs>/plot_autocast_speed.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_autocast_speed.py"


rule plot_autocast_memory:
    "Draw memory with and without autocast."
    input:
        results="<results>/tables/results.csv",
        caption=caption("autocast_memory"),
    output:
        png=report(
            "<results>/figures/autocast_memory.png",
            category="Memory",
            caption="../report/autocast_memory.rst",
            labels={"shows": "memory", "by": "autocast"},
        ),
        svg="<results>/figures/autocast_memory.svg",
        csv="<results>/figures/autocast_memory.csv",
    log:
        "<logs>/plot_autocast_memory.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_autocast_memory.py"


rule plot_attention:
    "Draw speed and memory of the attention implementations, side by side."
    input:
        results="<results>/tables/results.csv",
        caption=caption("attention"),
    output:
        png=report(
            "<results>/figures/attention.png",
            category="Speed",
            caption="../report/attention.rst",
            labels={"shows": "time and memory", "by": "attention"},
        ),
        svg="<results>/figures/attention.svg",
        csv="<results>/figures/attention.csv",
    log:
        "<logs>/plot_attention.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_attention.py"


rule plot_parts:
    "Draw where the time of one call goes: text encoders, denoiser, VAE decoder."
    input:
        results="<results>/tables/results.csv",
        caption=caption("parts"),
    output:
        png=report(
            "<results>/figures/parts.png",
            category="Speed",
            caption="../report/parts.rst",
            labels={"shows": "time per part", "by": "device and precision"},
        ),
        svg="<results>/figures/parts.svg",
        csv="<results>/figures/parts.csv",
    log:
        "<logs>/plot_parts.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_parts.py"


rule plot_cold_start:
    "Draw what the first image costs: loading, the first call, a call after that."
    input:
        results="<results>/tables/results.csv",
        caption=caption("cold_start"),
    output:
        png=report(
            "<results>/figures/cold_start.png",
            category="Speed",
            caption="../report/cold_start.rst",
            labels={"shows": "cold start", "by": "device and precision"},
        ),
        svg="<results>/figures/cold_start.svg",
        csv="<results>/figures/cold_start.csv",
    log:
        "<logs>/plot_cold_start.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_cold_start.py"


rule plot_speed_quality:
    "Draw what a speed-up costs the picture."
    input:
        results="<results>/tables/results.csv",
        caption=caption("speed_quality"),
    output:
        png=report(
            "<results>/figures/speed_quality.png",
            category="Quality",
            caption="../report/speed_quality.rst",
            labels={"shows": "speed and likeness", "by": "setting"},
        ),
        svg="<results>/figures/speed_quality.svg",
        csv="<results>/figures/speed_quality.csv",
    log:
        "<logs>/plot_speed_quality.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_speed_quality.py"


rule plot_cost:
    "Draw energy and money for each image."
    input:
        results="<results>/tables/results.csv",
        caption=caption("cost"),
    output:
        png=report(
            "<results>/figures/cost.png",
            category="Throughput",
            caption="../report/cost.rst",
            labels={"shows": "energy and money", "by": "device and precision"},
        ),
        svg="<results>/figures/cost.svg",
        csv="<results>/figures/cost.csv",
    log:
        "<logs>/plot_cost.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_cost.py"


rule plot_limit:
    "Draw how much of its device each way of running uses."
    input:
        results="<results>/tables/results.csv",
        caption=caption("limit"),
    output:
        png=report(
            "<results>/figures/limit.png",
            category="Speed",
            caption="../report/limit.rst",
            labels={
                "shows": "share of the device's ceiling",
                "by": "device and precision",
            },
        ),
        svg="<results>/figures/limit.svg",
        csv="<results>/figures/limit.csv",
    log:
        "<logs>/plot_limit.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_limit.py"


rule plot_ladder:
    "Draw each variant's denoiser against the reference's, from the slowest to the fastest."
    input:
        races="<results>/tables/races.csv",
        caption=caption("ladder"),
    output:
        png=report(
            "<results>/figures/ladder.png",
            category="Limits",
            caption="../report/ladder.rst",
            labels={"shows": "time per evaluation", "by": "way of running"},
        ),
        svg="<results>/figures/ladder.svg",
        csv="<results>/figures/ladder.csv",
    log:
        "<logs>/plot_ladder.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_ladder.py"


rule plot_threads:
    "Draw seconds per image against the number of threads of a CPU."
    input:
        results="<results>/tables/results.csv",
        ceilings="<results>/tables/ceilings.csv",
        caption=caption("threads"),
    output:
        png=report(
            "<results>/figures/threads.png",
            category="Limits",
            caption="../report/threads.rst",
            labels={"shows": "time per image", "by": "threads"},
        ),
        svg="<results>/figures/threads.svg",
        csv="<results>/figures/threads.csv",
    log:
        "<logs>/plot_threads.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        families=thread_families(PLAN.devices),
    script:
        "../scripts/plot_threads.py"


rule plot_fits:
    "Draw what fits in how much memory: the largest batch of each way to run a model."
    input:
        fits="<results>/tables/fits.csv",
        caption=caption("fits"),
    output:
        png=report(
            "<results>/figures/fits.png",
            category="Memory",
            caption="../report/fits.rst",
            labels={"shows": "largest batch", "by": "model and size of memory"},
        ),
        svg="<results>/figures/fits.svg",
        csv="<results>/figures/fits.csv",
    log:
        "<logs>/plot_fits.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/plot_fits.py"
