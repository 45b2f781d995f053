"""The commands: each parses its options, calls one function of the library, and prints what it returns.

Nothing below this folder knows flags or exit codes.
"""
