"""Graphs of a calculation and its backward pass: of scalar values, or of the steps of a chain."""
