"""f2: the next character, and names

To sample a name, the network is run on one context at a time. A batch of one has no
variance, so batchnorm uses the mean and the variance of the whole training split, which
were computed after training.

Arguments:

    p        the parameters by name, as in f1
    bnmean   (1, H)  the mean of hprebn over the training split
    bnvar    (1, H)  its variance
    context  a list of T characters, whole numbers

Write probabilities, the probability of each of the V characters after the context, (V,).
As in f1, bnraw is (hprebn - bnmean) / √(bnvar + 1e-5). The check trains a small network,
compares your probabilities after some contexts with the right ones, and prints five names
that were sampled with yours.
"""

import torch
import torch.nn.functional as F


def probabilities(p, bnmean, bnvar, context):
    return torch.zeros(len(p["b2"]))  # not written yet
    #: embcat = p["C"][torch.tensor(context)].view(1, -1)
    #: hprebn = embcat @ p["W1"] + p["b1"]
    #: bnraw = (hprebn - bnmean) * (bnvar + 1e-5) ** -0.5
    #: h = torch.tanh(p["bngain"] * bnraw + p["bnbias"])
    #: return F.softmax(h @ p["W2"] + p["b2"], 1)[0]
    #! These are the logits; softmax makes probabilities of them.
    #!: embcat = p["C"][torch.tensor(context)].view(1, -1)
    #!: hprebn = embcat @ p["W1"] + p["b1"]
    #!: bnraw = (hprebn - bnmean) * (bnvar + 1e-5) ** -0.5
    #!: h = torch.tanh(p["bngain"] * bnraw + p["bnbias"])
    #!: return (h @ p["W2"] + p["b2"])[0]
    #! Batchnorm is missing: subtract bnmean, and divide by the root of bnvar + 1e-5.
    #!: embcat = p["C"][torch.tensor(context)].view(1, -1)
    #!: hprebn = embcat @ p["W1"] + p["b1"]
    #!: h = torch.tanh(p["bngain"] * hprebn + p["bnbias"])
    #!: return F.softmax(h @ p["W2"] + p["b2"], 1)[0]
    #! The values are divided by the variance; divide by its root, the standard deviation.
    #!: embcat = p["C"][torch.tensor(context)].view(1, -1)
    #!: hprebn = embcat @ p["W1"] + p["b1"]
    #!: bnraw = (hprebn - bnmean) / (bnvar + 1e-5)
    #!: h = torch.tanh(p["bngain"] * bnraw + p["bnbias"])
    #!: return F.softmax(h @ p["W2"] + p["b2"], 1)[0]


def sample(p, bnmean, bnvar, letters, contexts):
    """Print five names, and return the probabilities after the contexts."""
    found = torch.stack([probabilities(p, bnmean, bnvar, context) for context in contexts])
    if found.dim() != 2 or not torch.allclose(found.sum(1), torch.ones_like(found.sum(1))):
        return found
    generator = torch.Generator().manual_seed(2147483647)
    for _ in range(5):
        context, name = [0] * len(contexts[0]), ""  # token 0 begins and ends a name
        while len(name) < 30:
            q = probabilities(p, bnmean, bnvar, context)
            token = int(torch.multinomial(q, 1, generator=generator))
            if token == 0:
                break
            context, name = [*context[1:], token], name + letters[token - 1]
        print(name)
    return found
