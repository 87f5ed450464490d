# One job per cell. `params` is the cell's whole identity: device and threads are resources, which rerun nothing.
rule attack:
    input:
        victims=f"{RESULTS}/victims/{{dataset}}.npz",
        trained=trained_model_of_cell,
    output:
        f"{RESULTS}/cells/{CELL}.parquet",
    log:
        f"{RESULTS}/logs/attack/{CELL}.log",
    benchmark:
        f"{RESULTS}/benchmarks/attack/{CELL}.tsv"
    priority: priority_of_cell
    conda:
        "../envs/dia.yaml"
    threads: CONFIG.execution.threads
    resources:
        exclusive_gpu=0,  # 1 in the profile of a workstation, where nobody else binds jobs to GPUs
        device=CONFIG.execution.device,
        victims_per_chunk=CONFIG.execution.victims_per_chunk,
        compile=str(CONFIG.execution.compile).lower(),
        compile_cache=str(expanded(CONFIG.execution.compile_cache)) if CONFIG.execution.compile_cache else "",
        cuda_graph=str(CONFIG.execution.cuda_graph).lower(),
        checkpoint=checkpoint_of_cell,
        attempt=attempt_of_cell,
    params:
        job=job_of_cell,
    # Checkpoint and attempt record lie outside the outputs: they outlive a job that failed. `exec`, because a shell in
    # between would die of the signal that tells the attack to save, and Slurm would then end the job at once.
    shell:
        "exec python -m dia attack --job {params.job:q} --victims {input.victims:q} --out {output:q}"
        " --trained {input.trained:q}"
        " --checkpoint {resources.checkpoint:q} --attempt {resources.attempt:q}"
        " --device {resources.device} --exclusive-gpu {resources.exclusive_gpu} --threads {threads}"
        " --victims-per-chunk {resources.victims_per_chunk}"
        " --compile {resources.compile} --compile-cache {resources.compile_cache:q}"
        " --cuda-graph {resources.cuda_graph}"
        " > {log:q} 2>&1"
