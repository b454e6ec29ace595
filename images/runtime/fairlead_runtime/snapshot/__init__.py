"""The snapshot Job: read a source, check it, freeze a revision. `job` runs it, one module per step."""
