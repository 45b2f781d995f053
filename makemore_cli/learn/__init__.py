"""Demonstrations of the lectures' failures, each a run of seconds."""
