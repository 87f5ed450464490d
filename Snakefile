# Dropout Inversion Attack: the evaluation grid of one config, from images to tables.
# Rules declare, the package `dia` does. The config is config/config.yaml unless --configfile names another.


include: "workflow/rules/common.smk"
include: "workflow/rules/victims.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/attack.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/tracking.smk"
include: "workflow/rules/partial.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        cell_files,  # by name, or a lost cell would go unnoticed behind the results made from it
        rules.collect.output,
        rules.summary.output,
        rules.track.output,
        rules.utility.output if MODELS else [],
        expand(rules.tables.output, table=CONFIG.tables),
        expand(f"{RESULTS}/figures/{{figure}}.png", figure=FIGURES),
