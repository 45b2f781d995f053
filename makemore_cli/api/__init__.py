"""What `import makemore_cli` offers in Python: training, a trained model, and gradient checks.

The command line uses the same functions. Nothing here imports PyTorch before it is needed.
"""
