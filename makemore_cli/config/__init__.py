"""The configuration of a run: its schema, and how it is read from YAML and from settings (`optim.lr=0.05`).

The rest of the program sees one validated object.
"""
