"""Measurements of speed. All figures of one table come from one run."""
