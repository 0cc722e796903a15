"""Completion scripts, made from the parser; a test holds them to it."""
