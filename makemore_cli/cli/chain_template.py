"""A chain file to start from, with comments."""

TEMPLATE = '''\
"""A linear layer with tanh, as a chain of steps. Check it: makemore gradcheck --chain FILE"""

import torch

from makemore_cli import between, chain, given, index, positive, step

my_chain = chain(
    "a linear layer",
    # The inputs. A shape is written in sizes: "n D" is a matrix of n rows and D columns, "D" a vector, "" a number,
    # "n T·E" and "n L-K+1" are arithmetic. Other inputs than real numbers:
    #   positive("n D")           above zero, for a logarithm, a root or a variance
    #   between("n D", 0, 1)      between two bounds
    #   index("n T", "V")         whole numbers from 0 to below V
    #   given(torch.ones(3, 4))   always the same; a plain number such as 1e-5 is always the same too
    {"x": "n D", "W": "D H", "b": "H"},
    # The steps, in the order in which they are computed. Each has a name, its forward line, and for each tensor that it
    # reads the line that takes the gradient back: dW is the gradient of W, dz the one that comes from above. A line may
    # read all forward tensors, the sizes (n, D, H), and its own step's gradient.
    step(
        "z",
        lambda x, W, b: x @ W + b,
        dx=lambda W, dz: dz @ W.T,
        dW=lambda x, dz: x.T @ dz,
        db=lambda dz: dz.sum(0),
        # These are optional. The shape is checked; rule and why are shown by `makemore explain --chain FILE z`.
        shape="n H",
        rule="matrix product ⇄ product with the other factor, transposed; broadcast ⇄ sum",
        why="b is added to every row, so it gets the sum over rows.",
    ),
    step("h", lambda z: torch.tanh(z), dz=lambda h, dh: (1 - h**2) * dh),
    # The last step has no reader, so h is an output. It gets a random gradient from above; a single number, such as a
    # loss, gets 1.
    #
    # Sizes are small numbers, no two alike. Fix one, or give it a lowest and a highest number:
    #   sizes={"H": 16, "n": (4, 9)},
)
'''
