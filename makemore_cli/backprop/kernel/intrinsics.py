"""What Numba lacks: pointers, arrays that become registers, a counter that threads share.

Each function here is a few instructions of LLVM. Only compiled code can call it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from makemore_cli.backprop.kernel.processor import STRIP_BYTES, VECTOR_BYTES

Pointer = Any  # to numbers of one type, in memory or in registers: p[j] reads and writes the j-th
_LINE = 64  # bytes
_INT64 = ir.IntType(64)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Numba's decorator, without its type hints, which are those of the function before it is decorated."""
    return extending.intrinsic(function)


@intrinsic
def at(typingctx: Any, array: Any, *index: Any) -> Any:
    """Return a pointer to array[index].

    Slicing an array counts a reference to it, with an atomic instruction. A pointer costs nothing.
    """
    together: Any = index[0]  # as Numba sometimes has them
    if isinstance(index[0], types.BaseTuple):
        index = tuple(together)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        value = context.make_array(kind)(context, builder, arguments[0])
        return cgutils.get_item_pointer(context, builder, kind, value, cgutils.unpack_tuple(builder, arguments[1]))

    return types.CPointer(array.dtype)(array, types.StarArgTuple(index)), emit


@intrinsic
def ahead(typingctx: Any, p: Any, distance: Any) -> Any:
    """Return the pointer that is so many numbers further on. Numba has no sum of a pointer and a number."""
    return p(p, types.int64), lambda context, builder, signature, arguments: builder.gep(arguments[0], [arguments[1]])


def _strip_length(dtype: Any) -> int:
    return STRIP_BYTES * 8 // int(dtype.bitwidth)


@intrinsic
def strip_length(typingctx: Any, p: Any) -> Any:
    """Return the length of a strip of such numbers.

    Loops over it have a length that the compiler knows, so they are unrolled and become vector instructions.
    """
    return types.int64(p), lambda context, builder, signature, arguments: ir.Constant(_INT64, _strip_length(p.dtype))


def _local(p: Any, length: int) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_data_type(p.dtype)
        with builder.goto_entry_block():
            array = builder.alloca(ir.ArrayType(number, length))
            array.align = _LINE
        return builder.bitcast(array, number.as_pointer())

    return p(p), emit


@intrinsic
def strip(typingctx: Any, p: Any) -> Any:
    """Return a strip of numbers of the type that p points to, in this function's own memory.

    Nothing else can point there, so that LLVM keeps the numbers in registers.
    """
    return _local(p, _strip_length(p.dtype))


@intrinsic
def square_side(typingctx: Any, p: Any) -> Any:
    """Return the side of such a `square`."""
    return types.int64(p), lambda context, builder, signature, arguments: ir.Constant(_INT64, _side(p.dtype))


@intrinsic
def square_bits(typingctx: Any, p: Any) -> Any:
    """Return the number of bits of a row's or a column's index in it."""
    return types.int64(p), lambda context, builder, signature, arguments: ir.Constant(
        _INT64, _side(p.dtype).bit_length() - 1
    )


@intrinsic
def square(typingctx: Any, p: Any) -> Any:
    """Return a square of numbers, as long and wide as a vector register, like `strip`."""
    return _local(p, _side(p.dtype) ** 2)


def _side(dtype: Any) -> int:
    return VECTOR_BYTES * 8 // int(dtype.bitwidth)


@intrinsic
def typed(typingctx: Any, p: Any, number: Any) -> Any:
    """Return a number in the type of p, or of what p points to.

    A plain 1 would make a float64 of a float32 that it is added to.
    """
    kind = p.dtype if isinstance(p, types.CPointer) else p

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[1], signature.args[1], kind)

    return kind(p, types.unliteral(number)), emit


@intrinsic
def arrive(typingctx: Any, counter: Any) -> Any:
    """Add one to a counter. What this thread wrote before is seen by whoever reads the counter after."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], ir.Constant(_INT64, 1), "seq_cst")

    return types.int64(counter), emit


@intrinsic
def arrived(typingctx: Any, counter: Any) -> Any:
    """Read a counter from memory, at each call anew, and only then what other threads wrote."""
    return types.int64(counter), lambda context, builder, signature, arguments: builder.load_atomic(
        arguments[0], "acquire", 8
    )


# LLVM's name of the instruction, and its arguments. On other processors `pause` does nothing. Only x86 has been tried.
_INT32 = ir.IntType(32)
_X86_PAUSE: Any = ("llvm.x86.sse2.pause", [])
_ARM_YIELD: Any = ("llvm.aarch64.hint", [ir.Constant(_INT32, 1)])
_PAUSES = {"x86_64": _X86_PAUSE, "amd64": _X86_PAUSE, "i686": _X86_PAUSE, "aarch64": _ARM_YIELD, "arm64": _ARM_YIELD}


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the processor that this is a loop that waits, which spares power and the core's other thread."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        architecture = builder.module.triple.partition("-")[0]
        if architecture in _PAUSES:
            name, values = _PAUSES[architecture]
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)
        return context.get_dummy_value()

    return types.void(), emit


def _yield_core() -> Any:
    """The system's function that lets another thread have the core: of Linux and macOS, or of Windows.

    Only Linux has been tried.
    """
    if sys.platform == "win32":
        name = "SwitchToThread"
        llvm.add_symbol(name, ctypes.cast(ctypes.windll.kernel32.SwitchToThread, ctypes.c_void_p).value)
    else:
        name = "sched_yield"
    return types.ExternalFunction(name, types.int32())


yield_core = _yield_core()
