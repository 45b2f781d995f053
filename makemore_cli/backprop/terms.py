"""Terms: an entry of a matrix as an expression of other entries, with its value, for mathematical notation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

LARGEST_DENOMINATOR = 12  # of a constant that is shown as a fraction
NOTHING = 1e-12  # smaller numbers are rounding errors, and are shown as 0
SUM, PRODUCT, SIGN, POWER, ATOM = range(5)  # how strongly an operation binds
SUPERSCRIPTS = str.maketrans("0123456789-.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·")


@dataclass(frozen=True, eq=False)
class Term:
    """One entry: an operation on other entries, with its value."""

    kind: str  # name, number, +, *, /, ** or a function's name
    parts: tuple[Term, ...]
    data: float
    name: str = ""

    def __add__(self, other: Term | float) -> Term:
        return sum_of([self, as_term(other)])

    def __radd__(self, other: float) -> Term:
        return sum_of([as_term(other), self])

    def __sub__(self, other: Term | float) -> Term:
        return sum_of([self, product_of([as_term(-1), as_term(other)])])

    def __rsub__(self, other: float) -> Term:
        return as_term(other) - self

    def __mul__(self, other: Term | float) -> Term:
        return product_of([self, as_term(other)])

    def __rmul__(self, other: float) -> Term:
        return product_of([as_term(other), self])

    def __truediv__(self, other: Term | float) -> Term:
        return quotient_of(self, as_term(other))

    def __rtruediv__(self, other: float) -> Term:
        return quotient_of(as_term(other), self)

    def __neg__(self) -> Term:
        return product_of([as_term(-1), self])

    def __pow__(self, power: float) -> Term:
        return power_of(self, float(power))

    def exp(self) -> Term:
        return self._through("exp", math.exp)

    def log(self) -> Term:
        return self._through("log", math.log)

    def tanh(self) -> Term:
        return self._through("tanh", math.tanh)

    def sigmoid(self) -> Term:
        return self._through("σ", lambda x: 1 / (1 + math.exp(-x)))

    def sqrt(self) -> Term:
        return self._through("√", math.sqrt)

    def abs(self) -> Term:
        return self._through("abs", abs)

    def relu(self) -> Term:
        return self._through("relu", lambda x: max(x, 0.0))

    def sin(self) -> Term:
        return self._through("sin", math.sin)

    def cos(self) -> Term:
        return self._through("cos", math.cos)

    def _through(self, name: str, function: Callable[[float], float]) -> Term:
        if self.kind == "number":
            return as_term(function(self.data))
        return Term(name, (self,), function(self.data))

    def text(self, numbers: bool = False) -> str:
        """The term in names, or in numbers."""
        return self._written(numbers)[0]

    def _written(self, numbers: bool) -> tuple[str, int]:
        if self.kind == "name":
            text = number(self.data) if numbers else self.name
            return text, SIGN if text.startswith("−") else ATOM
        if self.kind == "number":
            text = constant(self.data)
            return text, PRODUCT if "/" in text else SIGN if text.startswith("−") else ATOM
        if self.kind == "+":
            text = ""
            for part in self.parts:
                sign, rest = (" − ", part._without_minus()) if part._is_negative() else (" + ", part)
                inner = rest._bracketed(numbers, PRODUCT if sign == " − " else SUM)
                inner = f"({inner})" if text and inner.startswith("−") else inner
                text += f"{sign}{inner}" if text else (f"−{inner}" if sign == " − " else inner)
            return text, SUM
        if self.kind == "*":
            if self._is_negative():
                return f"−{self._without_minus()._bracketed(numbers, PRODUCT)}", SIGN
            first, *others = self.parts
            factors = [first._bracketed(numbers, PRODUCT), *(part._bracketed(numbers, POWER) for part in others)]
            return "·".join(factors), PRODUCT
        if self.kind == "/":
            above, below = self.parts
            return f"{above._bracketed(numbers, PRODUCT)}/{below._bracketed(numbers, POWER)}", PRODUCT
        if self.kind == "**":
            base, power = self.parts
            shown = constant(power.data).replace("−", "-")
            raised = shown.translate(SUPERSCRIPTS) if shown.lstrip("-").isdigit() else f"^({constant(power.data)})"
            return f"{base._bracketed(numbers, ATOM)}{raised}", POWER
        return f"{self.kind}({', '.join(part.text(numbers) for part in self.parts)})", ATOM

    def _bracketed(self, numbers: bool, least: int) -> str:
        text, strength = self._written(numbers)
        return text if strength >= least else f"({text})"

    def _is_negative(self) -> bool:
        first = self.parts[0] if self.kind == "*" else self
        return first.kind == "number" and first.data < 0

    def _without_minus(self) -> Term:
        if self.kind == "number":
            return as_term(-self.data)
        first = as_term(-self.parts[0].data)
        return product_of([first, *self.parts[1:]])


def number(value: float) -> str:
    """A number in a calculation, with at most four significant digits."""
    value = 0.0 if abs(value) < NOTHING else value
    text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"
    return text.replace("-", "−")


def constant(value: float) -> str:
    """A constant in its usual notation: 2, 1/3, 0.05."""
    fraction = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
    if fraction.denominator > 1 and abs(float(fraction) - value) < 1e-12 and number(value) != f"{value:.2g}":
        return f"{fraction.numerator}/{fraction.denominator}".replace("-", "−")
    return number(value)


def as_term(value: Term | float) -> Term:
    """Convert a plain number to a term."""
    return value if isinstance(value, Term) else Term("number", (), float(value))


def sum_of(parts: Sequence[Term]) -> Term:
    flat = [inner for part in parts for inner in (part.parts if part.kind == "+" else (part,))]
    flat = [part for part in flat if not (part.kind == "number" and part.data == 0)]
    if len(flat) < 2:
        return flat[0] if flat else as_term(0)
    return Term("+", tuple(flat), math.fsum(part.data for part in flat))


def product_of(parts: Sequence[Term]) -> Term:
    flat = [inner for part in parts for inner in (part.parts if part.kind == "*" else (part,))]
    factor = math.prod(part.data for part in flat if part.kind == "number")
    rest = [part for part in flat if part.kind != "number"]
    if factor == 0 or not rest:
        return as_term(factor)
    if factor != 1:
        rest.insert(0, as_term(factor))
    return rest[0] if len(rest) == 1 else Term("*", tuple(rest), math.prod(part.data for part in rest))


def quotient_of(above: Term, below: Term) -> Term:
    if above.kind == "number" and above.data == 0:
        return above
    if below.kind == "number":
        return product_of([as_term(1 / below.data), above])
    if above._is_negative():
        return product_of([as_term(-1), quotient_of(above._without_minus(), below)])
    return Term("/", (above, below), above.data / below.data)


def power_of(base: Term, power: float) -> Term:
    if power == 1:
        return base
    if base.kind == "number":
        return as_term(base.data**power)
    if power == -1:
        return quotient_of(as_term(1), base)
    return Term("**", (base, as_term(power)), base.data**power)
