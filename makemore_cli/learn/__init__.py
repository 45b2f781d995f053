"""Demonstrations of failures that the lectures show. Each runs in seconds."""
