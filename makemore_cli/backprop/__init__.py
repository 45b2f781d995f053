"""The backward pass by hand, three times: as a table of atomic steps, fused, and compiled.

It reads no file and prints nothing.
"""
