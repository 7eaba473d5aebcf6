"""Pipelines: a data set and a model in, a run of records out."""
