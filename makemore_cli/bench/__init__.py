"""Measurements of speed: no test asks for them, and all of one table come from one run."""
