"""A training run: engines, optimisers, the loop, what it logs and shows, and how it resumes.

Everything that changes parameters is here.
"""
