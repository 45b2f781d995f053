"""What stands between the program and the machine: files, output, signals, child processes, compilation.

Nothing here knows of networks.
"""
