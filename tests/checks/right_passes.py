"""Right backward passes as people write them, in many styles, for the tests of `gradcheck --user`."""

from __future__ import annotations

import json
import textwrap

# The lecture's notebook, line by line.
CHAIN = """
def backward(logprobs, probs, counts, counts_sum, counts_sum_inv, norm_logits, logits, h, W2, hpreact, bngain, bnraw,
             bnvar_inv, bnvar, bndiff2, bndiff, hprebn, embcat, W1, emb, C, X, Y, n):
    dlogprobs = torch.zeros_like(logprobs)
    dlogprobs[range(n), Y] = -1.0 / n
    dprobs = dlogprobs / probs
    dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
    dcounts = counts_sum_inv * dprobs
    dcounts_sum = -counts_sum**-2 * dcounts_sum_inv
    dcounts = dcounts + torch.ones_like(counts) * dcounts_sum
    dnorm_logits = counts * dcounts
    dlogits = dnorm_logits.clone()
    dlogit_maxes = -dnorm_logits.sum(1, keepdim=True)
    dlogits += torch.nn.functional.one_hot(logits.max(1).indices, logits.shape[1]) * dlogit_maxes
    dh = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    dhpreact = (1.0 - h**2) * dh
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnraw = bngain * dhpreact
    dbnbias = dhpreact.sum(0, keepdim=True)
    dbndiff = bnvar_inv * dbnraw
    dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    dbnvar = -0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv
    dbndiff2 = 1.0 / (n - 1) * torch.ones_like(bndiff2) * dbnvar
    dbndiff = dbndiff + 2 * bndiff * dbndiff2
    dhprebn = dbndiff.clone()
    dbnmeani = (-dbndiff).sum(0, keepdim=True)
    dhprebn += 1.0 / n * (torch.ones_like(hprebn) * dbnmeani)
    dembcat = dhprebn @ W1.T
    dW1 = embcat.T @ dhprebn
    db1 = dhprebn.sum(0)
    demb = dembcat.view(emb.shape)
    dC = torch.zeros_like(C)
    for k in range(X.shape[0]):
        for j in range(X.shape[1]):
            dC[X[k, j]] += demb[k, j]
    return locals()
"""

# The lecture's single expressions.
FUSED = """
import torch.nn.functional as F
def backward(logits, h, W2, Y, n, bngain, bnvar_inv, bnraw, embcat, W1, emb, X, C):
    dlogits = F.softmax(logits, 1)
    dlogits[range(n), Y] -= 1
    dlogits /= n
    dh = dlogits @ W2.T
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    dhpreact = (1 - h**2) * dh
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    dhprebn = bngain*bnvar_inv/n * (n*dhpreact - dhpreact.sum(0) - n/(n-1)*bnraw*(dhpreact*bnraw).sum(0))
    dembcat = dhprebn @ W1.T
    dW1 = embcat.T @ dhprebn
    db1 = dhprebn.sum(0)
    demb = dembcat.view(emb.shape)
    dC = torch.zeros_like(C)
    for k in range(X.shape[0]):
        for j in range(X.shape[1]):
            dC[X[k, j]] += demb[k, j]
    return locals()
"""


def changed(base: str, *pieces: tuple[str, str]) -> str:
    """A pass with pieces written otherwise."""
    for right, other in pieces:
        assert base.count(right) == 1, (right, base.count(right))
        base = base.replace(right, other)
    return base


def body(function: str) -> str:
    """A function's statements as a script."""
    return textwrap.dedent(function[function.index("):\n") + 3 :]).replace("return locals()", "")


def notebook(cells: list[str]) -> str:
    """A notebook of code cells."""
    code = [
        {"cell_type": "code", "source": cell.splitlines(True), "metadata": {}, "outputs": [], "execution_count": None}
        for cell in cells
    ]
    text = {"cell_type": "markdown", "source": ["# Backpropagation"], "metadata": {}}
    return json.dumps({"cells": [text, *code], "nbformat": 4, "nbformat_minor": 5, "metadata": {}})


# fmt: off
# ruff: noqa: E501
# Right passes by their styles; a name that ends in .ipynb is a notebook's.
RIGHT: dict[str, str] = {}
RIGHT['chain']=CHAIN
RIGHT['fused']=FUSED
RIGHT['onehot_int']= changed(CHAIN, ("dlogprobs = torch.zeros_like(logprobs)\n    dlogprobs[range(n), Y] = -1.0 / n","dlogprobs = -torch.nn.functional.one_hot(Y, 27)/n"))
RIGHT['zeros']= changed(CHAIN, ("torch.zeros_like(logprobs)\n","torch.zeros(n, 27)\n"))
RIGHT['tensor_const']= changed(CHAIN, ("1.0 / (n - 1) * torch.ones_like(bndiff2)","torch.tensor(1.0/(n-1)) * torch.ones_like(bndiff2)"))
RIGHT['ones_n']= changed(CHAIN, ("1.0 / n * (torch.ones_like(hprebn) * dbnmeani)","torch.ones(n, 1)/n * dbnmeani"))
RIGHT['softmax_onehot']= changed(FUSED, ("dlogits = F.softmax(logits, 1)\n    dlogits[range(n), Y] -= 1\n    dlogits /= n","dlogits = F.softmax(logits, 1)/n - F.one_hot(Y, 27)/n"))
RIGHT['float']= changed(FUSED, ("dlogits = F.softmax(logits, 1)\n    dlogits[range(n), Y] -= 1\n    dlogits /= n","dlogits = (F.softmax(logits.float(), 1) - F.one_hot(Y, 27).float())/n"))
RIGHT['onehot_embed']= changed(FUSED, ("    dC = torch.zeros_like(C)\n    for k in range(X.shape[0]):\n        for j in range(X.shape[1]):\n            dC[X[k, j]] += demb[k, j]","    dC = F.one_hot(X.view(-1), 27).float().T @ demb.view(-1, emb.shape[2])"))
RIGHT['f32explicit']= changed(FUSED, ("dC = torch.zeros_like(C)","dC = torch.zeros(C.shape, dtype=torch.float32)"))
RIGHT['floattensor']= changed(FUSED, ("dC = torch.zeros_like(C)","dC = torch.FloatTensor(*C.shape).zero_()"))
RIGHT['to32']= changed(FUSED, ("dh = dlogits @ W2.T","dh = (dlogits.to(torch.float32) @ W2.T.to(torch.float32)).type(torch.float32)"))
RIGHT['numpy']= changed(FUSED, ("dW2 = h.T @ dlogits","dW2 = h.numpy().T @ dlogits.numpy()"),("dW1 = embcat.T @ dhprebn","dW1 = torch.from_numpy(embcat.numpy().T @ dhprebn.numpy())"))
RIGHT['numpy32']= changed(FUSED, ("dW2 = h.T @ dlogits","dW2 = h.numpy().astype(np.float32).T @ dlogits.numpy().astype('float32')"))
RIGHT['allnumpy']='''
def backward(logits, h, W2, Y, n, **kw):
    l = logits.numpy(); p = np.exp(l - l.max(1, keepdims=True)); p /= p.sum(1, keepdims=True)
    p[np.arange(n), Y.numpy()] -= 1
    dlogits = p / n
    dW2 = h.numpy().T @ dlogits; db2 = dlogits.sum(0); dh = dlogits @ W2.numpy().T
    return dict(dlogits=dlogits, dW2=dW2, db2=db2, dh=dh)
'''
RIGHT['reciprocal']= changed(CHAIN, ("dprobs = dlogprobs / probs","dprobs = (1.0 / probs) * dlogprobs"))
RIGHT['kwargs']='''
def backward(**v):
    dlogits = F.softmax(v["logits"], 1); dlogits[range(v["n"]), v["Yb"]] -= 1; dlogits /= v["batch_size"]
    return {"dlogits": dlogits, "dW2": v["h"].T @ dlogits}
'''
RIGHT['grads_list']=FUSED.replace("return locals()","grads = [dC, dW1, db1, dW2, db2, dbngain, dbnbias]\n    return grads")
RIGHT['grads_tuple']=FUSED.replace("return locals()","return dlogits, dh, dW2, db2")
RIGHT['nod']=FUSED.replace("return locals()","return {'logits': dlogits, 'W2': dW2}")
RIGHT['meani_H']= changed(CHAIN, ("dbnmeani = (-dbndiff).sum(0, keepdim=True)","dbnmeani = (-dbndiff).sum(0)"))
RIGHT['bias_H']= changed(CHAIN, ("dbnbias = dhpreact.sum(0, keepdim=True)","dbnbias = dhpreact.sum(0)"))
RIGHT['nbnames']='''
def backward(Xb, Yb, batch_size, logits, h, W2):
    dlogits = F.softmax(logits, 1)
    dlogits[range(batch_size), Yb] -= 1
    dlogits /= batch_size
    dh = dlogits @ W2.T
    return locals()
'''
RIGHT['script']=body(CHAIN)
RIGHT['script_fused']=body(FUSED)
RIGHT['script_prints']=body(CHAIN)+"\nprint('done', dlogits.shape)\ncmp('dlogits', dlogits, logits)\nloss.backward()\n"
RIGHT['rebind']= changed(CHAIN, ("dhpreact = (1.0 - h**2) * dh","t = 1 - h**2\n    dhpreact = t * dh"))
RIGHT['script_rebind']=body(CHAIN).replace("dhpreact = (1.0 - h**2) * dh","g = 1 - h**2\ndhpreact = g * dh")
RIGHT['script_rebind_given']=body(CHAIN).replace("dhpreact = (1.0 - h**2) * dh","counts = 1 - h**2\ndhpreact = counts * dh")
RIGHT['globals']='''
def backward():
    dlogits = torch.softmax(logits, 1); dlogits[range(n), Y] -= 1; dlogits = dlogits / n
    dW2 = h.T @ dlogits
    return {"dlogits": dlogits, "dW2": dW2}
'''
RIGHT['einsum']= changed(FUSED, ("dW2 = h.T @ dlogits","dW2 = torch.einsum('nh,nv->hv', h, dlogits)"),("dh = dlogits @ W2.T","dh = torch.einsum('nv,hv->nh', dlogits, W2)"))
RIGHT['index_add']= changed(FUSED, ("    for k in range(X.shape[0]):\n        for j in range(X.shape[1]):\n            dC[X[k, j]] += demb[k, j]","    dC.index_add_(0, X.view(-1), demb.reshape(-1, emb.shape[2]))"))
RIGHT['put']= changed(FUSED, ("    for k in range(X.shape[0]):\n        for j in range(X.shape[1]):\n            dC[X[k, j]] += demb[k, j]","    dC.index_put_((X,), demb, accumulate=True)"))
RIGHT['tanh_re']= changed(CHAIN, ("dhpreact = (1.0 - h**2) * dh","dhpreact = (1.0 - torch.tanh(hpreact)**2) * dh"))
RIGHT['var_cubed']= changed(CHAIN, ("dbnvar = -0.5 * (bnvar + 1e-5) ** -1.5 * dbnvar_inv","dbnvar = -0.5 * bnvar_inv**3 * dbnvar_inv"))
RIGHT['m31']= changed(CHAIN, ("dbnmeani = (-dbndiff).sum(0, keepdim=True)","dbnmeani = -(bnvar_inv * dbnraw).sum(0, keepdim=True)"))
RIGHT['no_maxbranch']= changed(CHAIN, ("    dlogits += torch.nn.functional.one_hot(logits.max(1).indices, logits.shape[1]) * dlogit_maxes\n",""))
RIGHT['inplace']= changed(CHAIN, ("dcounts = dcounts + torch.ones","dcounts += torch.ones"),("dbndiff = dbndiff + 2","dbndiff += 2"))
RIGHT['nn']= changed(FUSED, ("(1 - h**2)","torch.pow(torch.cosh(hpreact), -2)"))
RIGHT['class']=FUSED.replace("return locals()","from types import SimpleNamespace\n    return SimpleNamespace(dlogits=dlogits, dW2=dW2)")
RIGHT['lambda']="backward = lambda logits, Y, n: {'dlogits': (torch.softmax(logits, 1) - torch.nn.functional.one_hot(Y, 27)) / n}\n"
RIGHT['helper']="import math\ndef soft(x):\n    return (x - x.logsumexp(1, keepdim=True)).exp()\n"+FUSED.replace("F.softmax(logits, 1)","soft(logits)")
RIGHT['modconst']="EPS = torch.tensor(1e-5)\nHALF = torch.tensor(-0.5)\n"+CHAIN.replace("-0.5 * (bnvar + 1e-5)","HALF * (bnvar + EPS)")
# A learner's notebook, with all that stands around the backward pass: data, initialisation, comparisons, training.
LECTURE = [
    "import torch\nimport torch.nn.functional as F\nimport matplotlib.pyplot as plt\n%matplotlib inline",
    "!wget https://example.org/names.txt\nwords = open('names.txt').read().split()\nlen(words)",
    "letters = ['.'] + sorted(set(''.join(words)))\nnumber = {letter: i for i, letter in enumerate(letters)}\nvocab_size = len(letters)",
    """block_size = 3
def examples(words):
    contexts, following = [], []
    for word in words:
        window = [0] * block_size
        for letter in word + '.':
            contexts.append(window)
            following.append(number[letter])
            window = window[1:] + [number[letter]]
    return torch.tensor(contexts), torch.tensor(following)
Xtr, Ytr = examples(words)""",
    "def cmp(name, mine, tensor):\n    print(name, torch.equal(mine, tensor.grad))",
    """n_embd, n_hidden = 10, 64
C = torch.randn(vocab_size, n_embd)
W1 = torch.randn(n_embd * block_size, n_hidden)
b1 = torch.randn(n_hidden)
W2 = torch.randn(n_hidden, vocab_size)
b2 = torch.randn(vocab_size)
bngain = torch.ones(1, n_hidden)
bnbias = torch.zeros(1, n_hidden)
parameters = [C, W1, b1, W2, b2, bngain, bnbias]
for p in parameters:
    p.requires_grad = True""",
    "batch_size = n = 32\nchosen = torch.randint(0, len(Xtr), (n,))\nXb, Yb = Xtr[chosen], Ytr[chosen]",
    """emb = C[Xb]
embcat = emb.flatten(1)
hprebn = embcat @ W1 + b1
bnmeani = hprebn.mean(0, keepdim=True)
bndiff = hprebn - bnmeani
bndiff2 = bndiff**2
bnvar = bndiff2.sum(0, keepdim=True) / (n - 1)
bnvar_inv = (bnvar + 1e-5) ** -0.5
bnraw = bndiff * bnvar_inv
hpreact = bngain * bnraw
hpreact += bnbias
h = hpreact.tanh()
logits = h @ W2 + b2
logit_maxes = logits.amax(1, keepdim=True)
norm_logits = logits - logit_maxes
counts = norm_logits.exp()
counts_sum = counts.sum(1, keepdim=True)
counts_sum_inv = 1 / counts_sum
probs = counts * counts_sum_inv
logprobs = probs.log()
loss = -logprobs[range(n), Yb].mean()
for t in [logprobs, probs, h]:
    t.retain_grad()
loss.backward()
loss""",
    body(CHAIN).replace(", Y]",", Yb]").replace("X.shape","Xb.shape").replace("X[k, j]","Xb[k, j]")+"\ncmp('logprobs', dlogprobs, logprobs)\ncmp('C', dC, C)\n",
"fast = F.cross_entropy(logits, Yb)\nprint((fast - loss).item())",
    "dlogits = F.softmax(logits, 1)\ndlogits[range(n), Yb] -= 1\ndlogits /= n\ncmp('logits', dlogits, logits)\nplt.imshow(dlogits)",
    "print(torch.nn.BatchNorm1d(n_hidden)(hprebn).shape)",
    "dhprebn = bngain*bnvar_inv/n * (n*dhpreact - dhpreact.sum(0) - n/(n-1)*bnraw*(dhpreact*bnraw).sum(0))\ncmp('hprebn', dhprebn, hprebn)",
    """losses = []
with torch.no_grad():
    for step in range(200000):
        ix = torch.randint(0, len(Xtr), (batch_size,))
        Xb, Yb = Xtr[ix], Ytr[ix]
        emb = C[Xb]
        embcat = emb.flatten(1)
        hprebn = embcat @ W1 + b1
        mean, bnvar = hprebn.mean(0, keepdim=True), hprebn.var(0, keepdim=True)
        bnvar_inv = (bnvar + 1e-5) ** -0.5
        bnraw = (hprebn - mean) * bnvar_inv
        h = torch.tanh(bngain * bnraw + bnbias)
        logits = h @ W2 + b2
        loss = F.cross_entropy(logits, Yb)
""" + textwrap.indent(body(FUSED).replace("import torch.nn.functional as F", "").replace(" Y]", " Yb]").replace("X.shape", "Xb.shape").replace("X[k, j]", "Xb[k, j]"), "        ") + """
        gradients = [dC, dW1, db1, dW2, db2, dbngain, dbnbias]
        for p, gradient in zip(parameters, gradients):
            p -= 0.1 * gradient
        if step % 1000 == 0:
            print(step, loss)
        losses.append(loss.item())
        if step > 100:
            break""",
    "def split_loss(X, Y):\n    emb = C[X]",
]
RIGHT['lecture.ipynb']= notebook(LECTURE)
RIGHT['function.ipynb']= notebook([LECTURE[0],LECTURE[1],"import torch.nn.functional as F\n"+FUSED])
RIGHT['nbconvert']='\n'.join(f"# In[{i}]:\n"+c.replace('%matplotlib', '# %matplotlib').replace('!wget', '# !wget') for i,c in enumerate(LECTURE))
# fmt: on
