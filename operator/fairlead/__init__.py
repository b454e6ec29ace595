"""Fairlead: a Kubernetes operator that carries a model from data to production and keeps it right."""

__version__ = "0.2.0"
