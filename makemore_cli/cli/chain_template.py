"""A commented chain file to start from."""

TEMPLATE = '''\
"""A linear layer with tanh, as a chain of steps. Check it: makemore gradcheck --chain FILE"""

import torch

from makemore_cli import between, chain, given, index, positive, step

my_chain = chain(
    "a linear layer",
    # The inputs. A shape is written in sizes: "n D" is a matrix of n rows and D columns, "D" a vector, "" a number,
    # "n T·E" and "n L-K+1" are arithmetic. Inputs other than real numbers:
    #   positive("n D")           above zero, for a logarithm, a root or a variance
    #   between("n D", 0, 1)      between two bounds
    #   index("n T", "V")         whole numbers from 0 to below V
    #   given(torch.ones(3, 4))   a constant; a plain number such as 1e-5 is a constant too
    {"x": "n D", "W": "D H", "b": "H"},
    # The steps, in the order of computation. Each has a name, a forward line, and for each tensor that it reads a
    # backward line: dW is the gradient of W, and dz is the upstream gradient. A backward line may read all forward
    # tensors, the sizes (n, D, H), and its own step's gradient.
    step(
        "z",
        lambda x, W, b: x @ W + b,
        dx=lambda W, dz: dz @ W.T,
        dW=lambda x, dz: x.T @ dz,
        db=lambda dz: dz.sum(0),
        # Optional. The shape is checked. `makemore explain --chain FILE z` shows the rule and the reason.
        shape="n H",
        rule="matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum",
        why="b is added to every row, so it gets the sum over rows.",
    ),
    step("h", lambda z: torch.tanh(z), dz=lambda h, dh: (1 - h**2) * dh),
    # No step reads h, so h is an output. Its upstream gradient is random; that of a single number, such as a loss,
    # is 1.
    #
    # Sizes are small and all different by default. Fix one, or give its smallest and largest value:
    #   sizes={"H": 16, "n": (4, 9)},
)
'''
