# One job a cell. `params` is the cell's whole identity: device and threads are resources, which rerun nothing.
rule attack:
    input:
        victims=f"{RESULTS}/victims/{{dataset}}.npz",
    output:
        f"{RESULTS}/cells/{CELL}.parquet",
    log:
        f"{RESULTS}/logs/attack/{CELL}.log",
    benchmark:
        f"{RESULTS}/benchmarks/attack/{CELL}.tsv"
    conda:
        "../envs/dia.yaml"
    threads: CONFIG.execution.threads
    resources:
        device=CONFIG.execution.device,
        victims_per_pass=CONFIG.execution.victims_per_pass,
        checkpoint=lambda wildcards: f"{RESULTS}/checkpoints/{CELL.format(**wildcards)}.npz",
        attempt=lambda wildcards: f"{RESULTS}/logs/attack/{CELL.format(**wildcards)}.json",
    params:
        job=job_of_cell,
    # Checkpoint and attempt record lie outside the outputs: they outlive a job that failed.
    shell:
        "python -m dia attack --job {params.job:q} --victims {input.victims:q} --out {output:q}"
        " --checkpoint {resources.checkpoint:q} --attempt {resources.attempt:q}"
        " --device {resources.device} --threads {threads} --victims-per-pass {resources.victims_per_pass}"
        " > {log:q} 2>&1"
