"""The network: sizes, parameters on one flat tensor, initialisation, and the forward pass of a trained model in NumPy.

`reference.py` is the same network in PyTorch's own functions, against which the hand-written passes are checked.
"""
