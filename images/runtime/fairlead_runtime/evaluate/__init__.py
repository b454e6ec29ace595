"""The evaluate Job: predict a frozen split with a version, measure, and hold the numbers against its gates."""

from .job import run

__all__ = ["run"]
