"""Train the makemore character MLP with gradients written by hand."""

__version__ = "0.1.0"
