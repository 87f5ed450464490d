# Tables, figures and the summary from what was collected; each declares what it reads, nothing walks folders.
localrules:
    tables,
    pictures,
    charts,
    summary,


rule tables:
    input:
        reference_values,
        config=rules.plan.output.config,
        results=rules.collect.output,
        table=table_definition,
    output:
        multiext(f"{RESULTS}/tables/{{table}}", ".csv", ".md", ".tex"),
        report(
            f"{RESULTS}/tables/{{table}}.html",
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


rule pictures:
    input:
        cell_files_of_figure,
        plan=rules.plan.output.cells,
    output:
        report(
            f"{RESULTS}/figures/{{picture}}.png",
            caption="../report/figures.rst",
            category="Figures",
            labels=picture_labels,
        ),
        f"{RESULTS}/figures/{{picture}}.pdf",
    log:
        f"{RESULTS}/logs/figures/{{picture}}.log",
    conda:
        "../envs/dia.yaml"
    params:
        options=picture_options,
    shell:
        "python -m dia figures {params.options:q} --job-list {input.plan:q} --out {output:q} > {log:q} 2>&1"


rule charts:
    input:
        config=rules.plan.output.config,
        results=rules.collect.output,
    output:
        report(
            f"{RESULTS}/figures/{{chart}}.png",
            caption="../report/figures.rst",
            category="Figures",
            labels=chart_labels,
        ),
        f"{RESULTS}/figures/{{chart}}.pdf",
    log:
        f"{RESULTS}/logs/figures/{{chart}}.log",
    conda:
        "../envs/dia.yaml"
    params:
        options=chart_options,
    shell:
        "python -m dia figures {params.options:q} --config {input.config:q} --results {input.results:q}"
        " --out {output:q} > {log:q} 2>&1"


rule summary:
    input:
        config=rules.plan.output.config,
        results=rules.collect.output,
    output:
        report(
            f"{RESULTS}/summary.html",
            caption="../report/summary.rst",
            category="What was run",
            labels={"page": "cells, settings, versions, machines"},
        ),
    log:
        f"{RESULTS}/logs/summary.log",
    conda:
        "../envs/dia.yaml"
    shell:
        "python -m dia summary --config {input.config:q} --results {input.results:q} --out {output:q} > {log:q} 2>&1"
