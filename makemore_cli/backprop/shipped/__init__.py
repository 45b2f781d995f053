"""Bundled chains besides the network's: small ones that each show one rule."""

from __future__ import annotations

from makemore_cli.backprop.shipped import linear, small_cases
from makemore_cli.backprop.shipped.lesson import Lesson

SHIPPED: dict[str, Lesson] = {
    "linear": linear.LINEAR,
    "linear_tanh": linear.LINEAR_TANH,
    "linear_batches": linear.LINEAR_BATCHES,
    "hot_dog": linear.HOT_DOG,
    "neuron": linear.NEURON,
    "slopes": linear.SLOPES,
    "toy_loss": small_cases.TOY_LOSS,
    "picked": small_cases.PICKED,
    "matrix_product": small_cases.MATRIX_PRODUCT,
    "broadcast_product": small_cases.BROADCAST_PRODUCT,
    "row_sum": small_cases.ROW_SUM,
    "broadcast_difference": small_cases.BROADCAST_DIFFERENCE,
    "row_maximum": small_cases.ROW_MAXIMUM,
    "repeated_gather": small_cases.REPEATED_GATHER,
    "softmax_cases": small_cases.SOFTMAX_CASES,
    "batchnorm_by_hand": small_cases.BATCHNORM_BY_HAND,
    "bessel": small_cases.BESSEL,
}
