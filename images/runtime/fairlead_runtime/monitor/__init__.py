"""The monitor Job: hold the requests of a window against what a version was trained on."""

from .job import run

__all__ = ["run"]
