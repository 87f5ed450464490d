# `snakemake partial`: tables of what exists, in results/<name>/partial/, while the rest is missing or still running.
# No attack is an input here, so that asking for it never starts one; which cells are finished is looked up when
# the list is written, and the list is written again whenever that changes.
localrules:
    plan_partial,
    collect_partial,
    tables_partial,


rule partial:
    input:
        expand(f"{RESULTS}/partial/tables/{{table}}.md", table=CONFIG.tables),


use rule plan as plan_partial with:
    output:
        cells=f"{RESULTS}/partial/cells.jsonl",
        config=f"{RESULTS}/partial/config.json",
    log:
        f"{RESULTS}/logs/partial/plan.log",
    params:
        config=CONFIG.identity(),
        finished=state_of_cells,
        select="--finished",


use rule collect as collect_partial with:
    input:
        plan=rules.plan_partial.output.cells,
    output:
        f"{RESULTS}/partial/results.parquet",
    log:
        f"{RESULTS}/logs/partial/collect.log",


use rule tables as tables_partial with:
    input:
        config=rules.plan_partial.output.config,
        results=rules.collect_partial.output,
        table=table_definition,
    output:
        multiext(f"{RESULTS}/partial/tables/{{table}}", ".csv", ".md", ".tex"),
    log:
        f"{RESULTS}/logs/partial/tables/{{table}}.log",
