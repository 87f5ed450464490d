# Trained models, one per set of training settings: all cells that attack it share it, whatever else their scenarios say.
localrules:
    collect_utility,


rule train:
    input:
        victims=f"{RESULTS}/victims/{{dataset}}.npz",  # left out of training and testing
    output:
        model=f"{RESULTS}/models/{MODEL}.npz",
        utility=f"{RESULTS}/models/{MODEL}.parquet",
    log:
        f"{RESULTS}/logs/train/{MODEL}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{MODEL}.tsv"
    priority: NEEDED_FIRST
    conda:
        "../envs/dia.yaml"
    threads: CONFIG.execution.threads
    resources:
        device=CONFIG.execution.device,
    params:
        job=job_of_model,
        dataset=dataset_definition,
    shell:
        "python -m dia train --job {params.job:q} --dataset-json {params.dataset:q} --victims {input.victims:q}"
        " --out {output.model:q} --utility {output.utility:q} --device {resources.device} --threads {threads}"
        " > {log:q} 2>&1"


rule collect_utility:
    input:
        expand(f"{RESULTS}/models/{{model}}.parquet", model=sorted(MODELS)),
    output:
        f"{RESULTS}/utility.parquet",
    log:
        f"{RESULTS}/logs/collect_utility.log",
    conda:
        "../envs/dia.yaml"
    shell:
        "python -m dia utility {input:q} --out {output:q} > {log:q} 2>&1"
