localrules:
    tables,
    figures,
