"""The configuration of a run: its schema, and how it is read from YAML and from `--set`.

The rest of the program sees one validated object.
"""
