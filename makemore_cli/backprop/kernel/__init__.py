"""The training pass, compiled for the CPU.

Start with `training_steps.py`, which follows `fused.py`. Its lines call `first_layer.py`, `layers.py`, `products.py`
and `update.py`. `layout.py` defines the memory, and `pointers.py` the pointers into it. Python calls `kernel.py`.

Loops process a row in strips of at most 16 numbers, which the processor handles in one or a few instructions.
`strip(p)` is a strip in registers, of numbers of the type that p points to. `strip_length(p)` is its length, and `put`
writes it to memory. `at(array, …)` is a pointer into an array, and `typed(p, 1)` is 1 in that type, float32 or float64.
These are in `intrinsics.py` and `arithmetic.py`. Functions decorated with `@exact` or `@any_order` are compiled.
"""
