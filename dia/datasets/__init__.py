"""Fixed victim sets from datasets; README.md in this folder has the map."""
