# Lets `snakemake` run in a clone without naming a file: an `include` whose default target counts here too. The workflow
# itself is where the Snakemake workflow catalogue looks for it.
workflow.include("workflow/Snakefile", overwrite_default_target=True)
