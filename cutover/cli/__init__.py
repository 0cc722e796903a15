"""The command line: verbs, and what a person reads. Verbs are imported only when they are called."""
