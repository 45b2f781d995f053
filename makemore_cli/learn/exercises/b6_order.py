"""b6: the order of the backward pass

Backpropagation may pass a number's gradient on only when it is complete: when all uses
of the number have made their contributions. In a topological order, each number comes
after all numbers that it was computed from. Backpropagation reads this order backwards.
Return it forwards.

        ┌──▶ b ──┐
    a ──┤        ├──▶ d          inputs = {"d": ["b", "c"], "b": ["a"],
        └──▶ c ──┘                         "c": ["a"], "a": []}

Two right orders are a b c d and a c b d.

Arguments:

    end     the name of the result
    inputs  for each name, the list of names that it is computed from

Write topological_order, which returns a list of all names that the result depends on,
itself included, each once, and after its inputs.
"""


def topological_order(end, inputs):
    return []  # not written yet
    #: order, seen = [], set()
    #: def visit(name):
    #:     if name not in seen:
    #:         seen.add(name)
    #:         for one in inputs[name]:
    #:             visit(one)
    #:         order.append(name)
    #: visit(end)
    #: return order
    #! A name is listed before its inputs: append it after the visits to its inputs.
    #!: order, seen = [], set()
    #!: def visit(name):
    #!:     if name not in seen:
    #!:         seen.add(name)
    #!:         order.append(name)
    #!:         for one in inputs[name]:
    #!:             visit(one)
    #!: visit(end)
    #!: return order
    #! A name that is used several times is listed several times: remember which names were visited.
    #!: order = []
    #!: def visit(name):
    #!:     for one in inputs[name]:
    #!:         visit(one)
    #!:     order.append(name)
    #!: visit(end)
    #!: return order
    #! Breadth-first is not enough: a name can be near the result by one way, and needed earlier by a longer one.
    #!: order = [end]
    #!: for name in order:
    #!:     order += [one for one in inputs[name] if one not in order]
    #!: return order[::-1]
    #! The result itself is missing.
    #!: order, seen = [], set()
    #!: def visit(name):
    #!:     for one in inputs[name]:
    #!:         if one not in seen:
    #!:             seen.add(one)
    #!:             visit(one)
    #!:             order.append(one)
    #!: visit(end)
    #!: return order
    #! This is the order of the backward pass; return it the other way round.
    #!: order, seen = [], set()
    #!: def visit(name):
    #!:     if name not in seen:
    #!:         seen.add(name)
    #!:         for one in inputs[name]:
    #!:             visit(one)
    #!:         order.append(name)
    #!: visit(end)
    #!: return order[::-1]
