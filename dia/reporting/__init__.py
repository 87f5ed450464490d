"""Everything that shows results: tables, figures, MLflow runs, the summary and the status of a grid."""
