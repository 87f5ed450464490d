# The job list stands in for ten thousand arguments; the collector reads exactly the files that it names, and takes only
# cells that were made for the jobs that it lists. The empty file in whose name the config's hash stands writes the list
# again for another config, also where Snakemake has lost its records of what outputs were made from.
localrules:
    list_cells,
    collect,


rule list_cells:
    output:
        cells=f"{RESULTS}/cells.jsonl",
        config=f"{RESULTS}/config.json",
        grid=touch(f"{RESULTS}/.grid-{GRID}"),
    log:
        f"{RESULTS}/logs/list_cells.log",
    conda:
        "../envs/dia.yaml"
    params:
        config=CONFIG.identity(),
        select="",
    shell:
        "rm -f $(dirname {output.grid:q})/.grid-*; "
        "python -m dia cells --config-json {params.config:q} {params.select} --out {output.cells:q}"
        " --config-out {output.config:q} > {log:q} 2>&1"


rule collect:
    input:
        cell_files,
        cells=rules.list_cells.output.cells,
    output:
        # The rows collected before stay where collecting fails; Snakemake puts them back with the time of now, so that
        # only a missing list of the cells makes the next run collect again.
        update(ROWS),
    log:
        f"{RESULTS}/logs/collect.log",
    conda:
        "../envs/dia.yaml"
    shell:
        "python -m dia collect --job-list {input.cells:q} --out {output:q} > {log:q} 2>&1"
        " || {{ rm -f $(dirname {output:q})/.grid-*; exit 1; }}"
