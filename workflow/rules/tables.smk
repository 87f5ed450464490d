# Tables and pictures from what was collected; each declares what it reads, nothing walks folders.
localrules:
    tables,
    figures,


rule tables:
    input:
        config=rules.plan.output.config,
        results=rules.collect.output,
        table=table_definition,
    output:
        report(
            multiext(f"{RESULTS}/tables/{{table}}", ".csv", ".md", ".tex"),
            caption="../report/tables.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    conda:
        "../envs/dia.yaml"
    shell:
        "python -m dia tables --config {input.config:q} --results {input.results:q} --table {input.table:q}"
        " --out {output:q} > {log:q} 2>&1"


rule figures:
    input:
        cell_files_of_figure,
        plan=rules.plan.output.cells,
    output:
        report(
            f"{RESULTS}/figures/{FIGURE}.png",
            caption="../report/reconstructions.rst",
            category="Figures",
            labels={axis: f"{{{axis}}}" for axis in FIGURE_AXES},
        ),
    log:
        f"{RESULTS}/logs/figures/{FIGURE}.log",
    conda:
        "../envs/dia.yaml"
    shell:
        "python -m dia figures reconstructions --job-list {input.plan:q} --scenario {wildcards.scenario:q}"
        " --dataset {wildcards.dataset:q} --model {wildcards.model:q} --seed {wildcards.seed} --out {output:q}"
        " > {log:q} 2>&1"
