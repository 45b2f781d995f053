"""Backpropagation one number at a time, as in the micrograd lecture.

    from makemore_cli.scalar import Value

    a, b = Value(2.0), Value(-3.0)
    loss = (a * b + 10.0).tanh()
    loss.backward()
    a.grad, b.grad  # the derivatives of the loss with respect to a and b

The interface is micrograd's, with its modules `engine` and `nn`: code written for micrograd runs if only its imports
are changed.
"""

from __future__ import annotations

from makemore_cli.scalar.engine import Value
from makemore_cli.scalar.nn import MLP, Layer, Module, Neuron

__all__ = ["MLP", "Layer", "Module", "Neuron", "Value"]
