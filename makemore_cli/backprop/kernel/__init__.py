"""The training pass, compiled for the CPU.

To be read from `training_steps.py`, which has the lines of `fused.py`; `layers.py`, `first_layer.py`, `products.py` and
`update.py` are what these lines call. `layout.py` is the memory, `places.py` says where things are in it, and
`intrinsics.py` and `arithmetic.py` are what Numba lacks. Python calls `kernel.py`.
"""
