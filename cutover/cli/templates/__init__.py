"""Runbooks to begin with."""
