# Tables and pictures from what was collected; each declares what it reads, nothing walks folders.
localrules:
    tables,


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
