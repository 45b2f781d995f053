"""Graphs of a calculation and its backward pass, and how they are drawn."""
