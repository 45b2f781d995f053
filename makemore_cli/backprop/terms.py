"""Terms: one number of a matrix as an expression of others, with its value, to be written as people do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

LARGEST_DENOMINATOR = 12  # of a constant that is shown as a fraction
NOTHING = 1e-12  # is what rounding leaves
SUM, PRODUCT, SIGN, POWER, ATOM = range(5)  # how strongly an operation binds
SUPERSCRIPTS = str.maketrans("0123456789-.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·")


@dataclass(frozen=True, eq=False)
class Term:
    """One entry: an operation on other entries, with its value."""

    kind: str  # name, number, +, *, /, ** or a function's name
    parts: tuple[Term, ...]
    value: float
    name: str = ""

    def text(self, numbers: bool = False) -> str:
        """The term with names, or with numbers in their place."""
        return self._written(numbers)[0]

    def _written(self, numbers: bool) -> tuple[str, int]:
        if self.kind == "name":
            text = number(self.value) if numbers else self.name
            return text, SIGN if text.startswith("−") else ATOM
        if self.kind == "number":
            text = constant(self.value)
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
            shown = constant(power.value).replace("−", "-")
            raised = shown.translate(SUPERSCRIPTS) if shown.lstrip("-").isdigit() else f"^({constant(power.value)})"
            return f"{base._bracketed(numbers, ATOM)}{raised}", POWER
        return f"{self.kind}({', '.join(part.text(numbers) for part in self.parts)})", ATOM

    def _bracketed(self, numbers: bool, least: int) -> str:
        text, strength = self._written(numbers)
        return text if strength >= least else f"({text})"

    def _is_negative(self) -> bool:
        first = self.parts[0] if self.kind == "*" else self
        return first.kind == "number" and first.value < 0

    def _without_minus(self) -> Term:
        if self.kind == "number":
            return number_term(-self.value)
        first = number_term(-self.parts[0].value)
        return product_of([first, *self.parts[1:]])


def number(value: float) -> str:
    """A number in a calculation, with four digits at most."""
    value = 0.0 if abs(value) < NOTHING else value
    text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"
    return text.replace("-", "−")


def constant(value: float) -> str:
    """A constant as people write it: 2, 1/3, 0.05."""
    fraction = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
    if fraction.denominator > 1 and abs(float(fraction) - value) < 1e-12 and number(value) != f"{value:.2g}":
        return f"{fraction.numerator}/{fraction.denominator}".replace("-", "−")
    return number(value)


def number_term(value: float) -> Term:
    return Term("number", (), float(value))


def sum_of(parts: Sequence[Term]) -> Term:
    flat = [inner for part in parts for inner in (part.parts if part.kind == "+" else (part,))]
    flat = [part for part in flat if not (part.kind == "number" and part.value == 0)]
    if len(flat) < 2:
        return flat[0] if flat else number_term(0)
    return Term("+", tuple(flat), math.fsum(part.value for part in flat))


def product_of(parts: Sequence[Term]) -> Term:
    flat = [inner for part in parts for inner in (part.parts if part.kind == "*" else (part,))]
    factor = math.prod(part.value for part in flat if part.kind == "number")
    rest = [part for part in flat if part.kind != "number"]
    if factor == 0 or not rest:
        return number_term(factor)
    if factor != 1:
        rest.insert(0, number_term(factor))
    return rest[0] if len(rest) == 1 else Term("*", tuple(rest), math.prod(part.value for part in rest))


def quotient_of(above: Term, below: Term) -> Term:
    if above.kind == "number" and above.value == 0:
        return above
    if below.kind == "number":
        return product_of([number_term(1 / below.value), above])
    if above._is_negative():
        return product_of([number_term(-1), quotient_of(above._without_minus(), below)])
    return Term("/", (above, below), above.value / below.value)


def power_of(base: Term, power: float) -> Term:
    if power == 1:
        return base
    if base.kind == "number":
        return number_term(base.value**power)
    if power == -1:
        return quotient_of(number_term(1), base)
    return Term("**", (base, number_term(power)), base.value**power)


def _function(name: str, function: Callable[[float], float]) -> Callable[[Term], Term]:
    return lambda term: (
        number_term(function(term.value)) if term.kind == "number" else Term(name, (term,), function(term.value))
    )


FUNCTIONS = {
    "exp": _function("exp", math.exp),
    "log": _function("log", math.log),
    "tanh": _function("tanh", math.tanh),
    "sigmoid": _function("σ", lambda x: 1 / (1 + math.exp(-x))),
    "sqrt": _function("√", math.sqrt),
    "abs": _function("abs", abs),
    "relu": _function("relu", lambda x: max(x, 0.0)),
}
