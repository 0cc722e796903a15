"""cutover: drives a live cutover from a declarative runbook."""

__version__ = "0.1.0"
