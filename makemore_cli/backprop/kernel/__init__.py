"""The training pass, compiled for the CPU.

Start with `training_steps.py`, which follows `fused.py`. Its lines call `first_layer.py`, `layers.py`, `products.py`
and `update.py`. `layout.py` is the memory, and `pointers.py` says where things are in it. Python calls `kernel.py`.

Loops go over a row in strips: 16 numbers or fewer, which the processor handles in one instruction or in a few.
`strip(p)` is a strip in registers for numbers such as p points to, `strip_length(p)` is its length, and `put` writes it
to memory. `at(array, …)` is a pointer into an array, and `typed(p, 1)` is 1 as such a number, float32 or float64. These
are in `intrinsics.py` and `arithmetic.py`. A function is compiled if it is decorated with `@exact` or `@any_order`.
"""
