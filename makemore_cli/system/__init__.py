"""The program's dealings with the machine: files, output, signals, child processes, compilation.

Nothing here knows of networks.
"""
