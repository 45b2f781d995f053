"""Functions that Numba lacks: pointers, arrays in registers, and a counter that threads share.

Each function is a few LLVM instructions. Only compiled code can call it.
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
    """Numba's decorator without its type hints, which are those of the undecorated function."""
    return extending.intrinsic(function)


@intrinsic
def at(typingctx: Any, array: Any, *index: Any) -> Any:
    """Return a pointer to array[index].

    Slicing an array counts a reference to it with an atomic instruction. A pointer costs nothing.
    """
    together: Any = index[0]  # Numba sometimes passes them as one tuple
    if isinstance(index[0], types.BaseTuple):
        index = tuple(together)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        value = context.make_array(kind)(context, builder, arguments[0])
        return cgutils.get_item_pointer(context, builder, kind, value, cgutils.unpack_tuple(builder, arguments[1]))

    return types.CPointer(array.dtype)(array, types.StarArgTuple(index)), emit


@intrinsic
def ahead(typingctx: Any, p: Any, distance: Any) -> Any:
    """Return the pointer that is `distance` numbers further on. Numba can't add a number to a pointer."""
    return p(p, types.int64), lambda context, builder, signature, arguments: builder.gep(arguments[0], [arguments[1]])


def _strip_length(dtype: Any) -> int:
    return STRIP_BYTES * 8 // int(dtype.bitwidth)


@intrinsic
def strip_length(typingctx: Any, p: Any) -> Any:
    """Return the length of a strip of numbers of the type that p points to.

    The compiler knows this length, so it unrolls loops over a strip and vectorises them.
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
    """Return a strip of numbers of the type that p points to, in the calling function's local memory.

    Nothing else can point there, so LLVM keeps the numbers in registers.
    """
    return _local(p, _strip_length(p.dtype))


@intrinsic
def square_side(typingctx: Any, p: Any) -> Any:
    """Return the side of a `square` of numbers of the type that p points to."""
    return types.int64(p), lambda context, builder, signature, arguments: ir.Constant(_INT64, _side(p.dtype))


@intrinsic
def square_bits(typingctx: Any, p: Any) -> Any:
    """Return the number of bits of a row or column index in a `square`."""
    return types.int64(p), lambda context, builder, signature, arguments: ir.Constant(
        _INT64, _side(p.dtype).bit_length() - 1
    )


@intrinsic
def square(typingctx: Any, p: Any) -> Any:
    """Return a square of numbers in registers, like `strip`; its side is the length of a vector register."""
    return _local(p, _side(p.dtype) ** 2)


def _side(dtype: Any) -> int:
    return VECTOR_BYTES * 8 // int(dtype.bitwidth)


@intrinsic
def typed(typingctx: Any, p: Any, number: Any) -> Any:
    """Return a number in the type of p, or of what p points to.

    A plain 1 would turn a float32 that it is added to into a float64.
    """
    kind = p.dtype if isinstance(p, types.CPointer) else p

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[1], signature.args[1], kind)

    return kind(p, types.unliteral(number)), emit


@intrinsic
def arrive(typingctx: Any, counter: Any) -> Any:
    """Add one to a counter. Threads that then read the counter see what this thread wrote before."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], ir.Constant(_INT64, 1), "seq_cst")

    return types.int64(counter), emit


@intrinsic
def arrived(typingctx: Any, counter: Any) -> Any:
    """Read a counter from memory, anew at each call. Later reads see what other threads wrote before they arrived."""
    return types.int64(counter), lambda context, builder, signature, arguments: builder.load_atomic(
        arguments[0], "acquire", 8
    )


# LLVM's name of the instruction, and its arguments. On other processors `pause` does nothing. Only x86 is tested.
_INT32 = ir.IntType(32)
_X86_PAUSE: Any = ("llvm.x86.sse2.pause", [])
_ARM_YIELD: Any = ("llvm.aarch64.hint", [ir.Constant(_INT32, 1)])
_PAUSES = {"x86_64": _X86_PAUSE, "amd64": _X86_PAUSE, "i686": _X86_PAUSE, "aarch64": _ARM_YIELD, "arm64": _ARM_YIELD}


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the processor that this loop waits, which saves power and leaves more of the core to its other thread."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        architecture = builder.module.triple.partition("-")[0]
        if architecture in _PAUSES:
            name, values = _PAUSES[architecture]
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)
        return context.get_dummy_value()

    return types.void(), emit


def _yield_core() -> Any:
    """The operating system's function that yields the core to another thread: for Linux and macOS, or for Windows.

    Only Linux is tested.
    """
    if sys.platform == "win32":
        name = "SwitchToThread"
        llvm.add_symbol(name, ctypes.cast(ctypes.windll.kernel32.SwitchToThread, ctypes.c_void_p).value)
    else:
        name = "sched_yield"
    return types.ExternalFunction(name, types.int32())


yield_core = _yield_core()
