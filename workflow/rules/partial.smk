# `snakemake partial`: tables of what exists, in results/<name>/partial/, while the rest is missing or still running.
# No attack is an input here, so that asking for it never starts one; which cells are finished is looked up when
# the list is written, and the list is written again whenever that changes.
localrules:
    list_cells_partial,
    collect_partial,
    tables_partial,
    figures_from_results_partial,
    summary_partial,


rule partial:
    input:
        f"{RESULTS}/partial/.grid-{GRID}",
        f"{RESULTS}/partial/summary.html",
        expand(f"{RESULTS}/partial/figures/{{figure}}.png", figure=FROM_RESULTS),
        expand(f"{RESULTS}/partial/tables/{{table}}.md", table=CONFIG.tables),


use rule list_cells as list_cells_partial with:
    output:
        cells=f"{RESULTS}/partial/cells.jsonl",
        config=f"{RESULTS}/partial/config.json",
        grid=touch(f"{RESULTS}/partial/.grid-{GRID}"),
    log:
        f"{RESULTS}/logs/partial/list_cells.log",
    params:
        config=CONFIG.identity(),
        finished=state_of_cells,
        select="--finished",


use rule collect as collect_partial with:
    input:
        cells=rules.list_cells_partial.output.cells,
    output:
        update(PARTIAL_ROWS),
    log:
        f"{RESULTS}/logs/partial/collect.log",


use rule tables as tables_partial with:
    input:
        reference_values,
        config=rules.list_cells_partial.output.config,
        results=PARTIAL_ROWS,
        table=table_definition,
    output:
        multiext(f"{RESULTS}/partial/tables/{{table}}", ".csv", ".md", ".tex"),
        report(
            f"{RESULTS}/partial/tables/{{table}}.html",
            caption="../report/tables.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        f"{RESULTS}/logs/partial/tables/{{table}}.log",


use rule figures_from_results as figures_from_results_partial with:
    input:
        config=rules.list_cells_partial.output.config,
        results=PARTIAL_ROWS,
    output:
        report(
            f"{RESULTS}/partial/figures/{{figure}}.png",
            caption="../report/figures.rst",
            category="Figures",
            labels=figure_labels,
        ),
        f"{RESULTS}/partial/figures/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/partial/figures/{{figure}}.log",


use rule summary as summary_partial with:
    input:
        config=rules.list_cells_partial.output.config,
        results=PARTIAL_ROWS,
    output:
        report(
            f"{RESULTS}/partial/summary.html",
            caption="../report/summary.rst",
            category="What was run",
            labels={"page": "cells, settings, versions, machines"},
        ),
    log:
        f"{RESULTS}/logs/partial/summary.log",
