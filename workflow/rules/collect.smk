# The job list stands in for ten thousand arguments; the collector reads exactly the files that it names.
localrules:
    list_cells,
    collect,


rule list_cells:
    output:
        cells=f"{RESULTS}/cells.jsonl",
        config=f"{RESULTS}/config.json",
    log:
        f"{RESULTS}/logs/list_cells.log",
    conda:
        "../envs/dia.yaml"
    params:
        config=CONFIG.identity(),
        select="",
    shell:
        "python -m dia cells --config-json {params.config:q} {params.select} --out {output.cells:q}"
        " --config-out {output.config:q} > {log:q} 2>&1"


rule collect:
    input:
        cell_files,
        cells=rules.list_cells.output.cells,
    output:
        f"{RESULTS}/results.parquet",
    log:
        f"{RESULTS}/logs/collect.log",
    conda:
        "../envs/dia.yaml"
    shell:
        "python -m dia collect --job-list {input.cells:q} --out {output:q} > {log:q} 2>&1"
