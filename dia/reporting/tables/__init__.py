"""Tables, each declared in a small YAML file: from the collected rows to CSV, Markdown, LaTeX and HTML."""
