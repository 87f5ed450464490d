# MLflow: one writer, a local rule, after the Parquet is on disk. What it keeps can be written again from the cells, so
# the output is only the receipt; a database that is removed is refilled by `snakemake --forcerun track`.
localrules:
    track,


rule track:
    input:
        cell_files,
        ROWS,
        config=rules.list_cells.output.config,
        cells=rules.list_cells.output.cells,
    output:
        f"{RESULTS}/tracking.json",
    log:
        f"{RESULTS}/logs/tracking.log",
    conda:
        "../envs/dia.yaml"
    params:
        where=tracking_options,
    shell:
        "python -m dia sync --config {input.config:q} --job-list {input.cells:q} {params.where:q} --out {output:q}"
        " > {log:q} 2>&1"
