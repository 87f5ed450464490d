"""Result files: one Parquet file per cell with one row per victim, and all cells of a grid in one file without images.

Needs pyarrow and Pillow only: the process of a cell imports neither pandas nor MLflow.
"""
