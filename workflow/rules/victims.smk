# One fixed victim set per dataset. Local, because a download needs the network that compute nodes often lack.
localrules:
    victims,


rule victims:
    input:
        source_files,
    output:
        f"{RESULTS}/victims/{{dataset}}.npz",
    log:
        f"{RESULTS}/logs/victims/{{dataset}}.log",
    priority: NEEDED_FIRST
    conda:
        "../envs/dia.yaml"
    params:
        dataset=dataset_definition,
    shell:
        "python -m dia victims --dataset-json {params.dataset:q} --name {wildcards.dataset:q}"
        " --out {output:q} > {log:q} 2>&1"
