# Tables, figures and the summary from the collected results; each rule declares what it reads, none walks folders.
localrules:
    tables,
    figures_from_cells,
    figures_from_results,
    summary,


rule tables:
    input:
        reference_values,
        config=rules.list_cells.output.config,
        results=ROWS,
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


rule figures_from_cells:
    input:
        cell_files_of_figure,
        cells=rules.list_cells.output.cells,
    output:
        report(
            f"{RESULTS}/figures/{{figure}}.png",
            caption="../report/figures.rst",
            category="Figures",
            labels=figure_labels,
        ),
        f"{RESULTS}/figures/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/figures/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(FROM_CELLS),
    conda:
        "../envs/dia.yaml"
    params:
        options=figure_options,
    shell:
        "python -m dia figures {params.options:q} --job-list {input.cells:q} --out {output:q} > {log:q} 2>&1"


rule figures_from_results:
    input:
        config=rules.list_cells.output.config,
        results=ROWS,
    output:
        report(
            f"{RESULTS}/figures/{{figure}}.png",
            caption="../report/figures.rst",
            category="Figures",
            labels=figure_labels,
        ),
        f"{RESULTS}/figures/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/figures/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(FROM_RESULTS),
    conda:
        "../envs/dia.yaml"
    params:
        options=figure_options,
    shell:
        "python -m dia figures {params.options:q} --config {input.config:q} --results {input.results:q}"
        " --out {output:q} > {log:q} 2>&1"


rule summary:
    input:
        config=rules.list_cells.output.config,
        results=ROWS,
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
