"use strict";
// The lines of a chain, evaluated. A line is nested lists, as expression_code.py writes them.

const OPERATORS = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "**": (a, b) => (a === 1 ? 1 : a ** b), // 1 ** Infinity is NaN in JavaScript
  ">": (a, b) => Number(a > b),
  "<": (a, b) => Number(a < b),
  ">=": (a, b) => Number(a >= b),
  "<=": (a, b) => Number(a <= b),
  "==": (a, b) => Number(a === b),
};

/**
 * The value of a line's code, given the values of the names that it reads: an object without a prototype.
 * Throws LineError if it can't be run.
 */
function evaluate(code, names) {
  try {
    return valueOf(code, names);
  } catch (error) {
    if (error instanceof LineError) throw error;
    throw new LineError(`the page can't run this line (${error.message})`);
  }
}

function valueOf(code, names) {
  const [kind, ...parts] = code;
  const value = (part) => valueOf(part, names);
  if (kind in OPERATORS) return binary(value(parts[0]), value(parts[1]), OPERATORS[kind]);
  switch (kind) {
    case "name":
      if (!(parts[0] in names)) throw new LineError(`${parts[0]} has no value`);
      return names[parts[0]];
    case "number":
      return Number(parts[0]);
    case "none":
      return null;
    case "slice": {
      const [start, stop] = parts.map(value);
      return { start, stop };
    }
    case "negative":
      return unary((x) => -x)(value(parts[0]));
    case "@":
      return matrixProduct(asTensor(value(parts[0])), asTensor(value(parts[1])));
    case "list":
      return parts.map(value);
    case "part":
      return value(parts[1])[parts[0]];
    case "attribute":
      return attribute(parts[0], value(parts[1]));
    case "index":
      return indexed(value(parts[0]), parts.slice(1).map(value));
    case "call":
      return FUNCTIONS[parts[0]](...parts.slice(1).map(value));
    default:
      throw new LineError(`the page does not know ${kind}`);
  }
}

function attribute(name, x) {
  if (name === "shape") return x.shape;
  return name === "T" ? transposed(x) : swapped(x, -2, -1);
}
