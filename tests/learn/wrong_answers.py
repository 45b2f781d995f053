"""Typical wrong answers to the exercises on one gradient, and a part of what the diagnosis must say."""

from __future__ import annotations

WRONG: dict[str, dict[str, str]] = {
    "c1_row_sum": {
        "torch.ones_like(A)": "factor ds is missing",
        "-torch.ones_like(A) * ds": "sign",
        "torch.ones_like(A) * ds / A.shape[1]": "",
        "ds": "shape",
    },
    "c2_broadcast": {
        "(A * dC).sum(1)": "keepdim",
        "A * dC": "sum",
        "dC.sum(1, keepdim=True)": "",
        "(A * dC).mean(1, keepdim=True)": "",
    },
    "c3_inputs": {"-dy @ W.T": "sign", "dy @ W.T / len(x)": "", "W @ dy.T": "transpose"},
    "c4_weights": {"dy.T @ x": "transpose", "x.T @ dy / len(x)": "", "-x.T @ dy": "sign"},
    "c5_bias": {"dy": "sum", "dy.mean(0)": "", "dy.sum(0, keepdim=True)": "shape", "dy.sum(1)": "shape"},
    "c6_squared_error": {
        "error / error.numel() * dloss": "factor 2",
        "2 * error * dloss": "",
        "2 * error / len(error) * dloss": "",
        "-2 * error / error.numel() * dloss": "sign",
    },
    "c7_tanh": {
        "(1 - a**2) * dy": "tanh",
        "dy * 1 - y**2": "parentheses",
        "1 - y**2": "",
        "(1 - torch.tanh(y) ** 2) * dy": "tanh",
    },
    "d01_logprobs": {
        "torch.zeros_like(logprobs).scatter(1, Y[:, None], -1.0) * dloss": "1/n",
        "torch.zeros_like(logprobs).scatter(1, Y[:, None], 1.0 / n) * dloss": "sign",
        "torch.full_like(logprobs, -1.0 / n) * dloss": "",
    },
    "d02_probs": {"dlogprobs * probs": "", "1 / probs": "", "dlogprobs": "unchanged", "dlogprobs / logprobs": ""},
    "d03_counts_sum_inv": {
        "counts * dprobs": "sum",
        "(counts * dprobs).sum(1)": "keepdim",
        "(counts * dprobs).mean(1, keepdim=True)": "mean",
        "(probs * dprobs).sum(1, keepdim=True)": "probs",
    },
    "d04_counts_sum": {
        "counts_sum**-2 * dcounts_sum_inv": "sign",
        "-(counts_sum**-1) * dcounts_sum_inv": "",
        "-2 * counts_sum**-1 * dcounts_sum_inv": "",
        "dcounts_sum_inv": "unchanged",
    },
    "d05_counts": {
        "counts_sum_inv * dprobs": "unfinished",
        "torch.ones_like(counts) * dcounts_sum": "",
        "counts_sum_inv * dprobs - torch.ones_like(counts) * dcounts_sum": "sign",
        "counts_sum_inv * dprobs + 2 * dcounts_sum": "",
    },
    "d06_norm_logits": {
        "norm_logits * dcounts": "",
        "dcounts": "unchanged",
        "counts": "",
        "counts.exp() * dcounts": "",
    },
    "d07_logit_maxes": {
        "dnorm_logits.sum(1, keepdim=True)": "sign",
        "-dnorm_logits": "sum",
        "-dnorm_logits.sum(1)": "keepdim",
        "torch.zeros_like(logit_maxes)": "",
    },
    "d08_logits": {
        "dnorm_logits": "unfinished",
        "dnorm_logits + dlogit_maxes": "",
        "dnorm_logits - F.one_hot(logits.max(1).indices, logits.shape[1]) * dlogit_maxes": "sign",
    },
    "d09_h": {"dlogits @ W2.T / len(h)": "", "-dlogits @ W2.T": "sign", "W2 @ dlogits.T": "transpose"},
    "d10_W2": {"dlogits.T @ h": "transpose", "h.T @ dlogits / len(h)": "", "-h.T @ dlogits": "sign"},
    "d11_hpreact": {
        "(1 - hpreact**2) * dh": "tanh",
        "(1 - h) * dh": "",
        "dh * 1 - h**2": "parentheses",
        "(1 - torch.tanh(h) ** 2) * dh": "tanh",
    },
    "d12_bngain": {
        "bnraw * dhpreact": "sum",
        "dhpreact.sum(0, keepdim=True)": "",
        "(bnraw * dhpreact).sum(0)": "shape",
        "(bnraw * dhpreact).mean(0, keepdim=True)": "",
    },
    "d13_bnvar_inv": {
        "bndiff * dbnraw": "sum",
        "(bndiff * dbnraw).mean(0, keepdim=True)": "",
        "(bnraw * dbnraw).sum(0, keepdim=True)": "bnraw",
    },
    "d14_bnvar": {
        "0.5 * (bnvar + eps) ** -1.5 * dbnvar_inv": "sign",
        "-0.5 * (bnvar + eps) ** -0.5 * dbnvar_inv": "",
        "-((bnvar + eps) ** -1.5) * dbnvar_inv": "-0.5",
    },
    "d15_bndiff2": {
        "1.0 / n * torch.ones_like(bndiff2) * dbnvar": "Bessel",
        "torch.ones_like(bndiff2) * dbnvar": "",
        "1.0 / (n - 1) * dbnvar": "shape",
    },
    "d16_bndiff": {
        "bnvar_inv * dbnraw": "unfinished",
        "bnvar_inv * dbnraw + bndiff * dbndiff2": "",
        "2 * bndiff * dbndiff2": "",
        "bnvar_inv * dbnraw - 2 * bndiff * dbndiff2": "sign",
    },
    "d17_bnmeani": {
        "dbndiff.sum(0, keepdim=True)": "sign",
        "-dbndiff": "sum",
        "-dbndiff.mean(0, keepdim=True)": "",
    },
    "d18_hprebn": {
        "dbndiff": "unfinished",
        "dbndiff + dbnmeani": "",
        "dbndiff + dbnmeani / (n - 1)": "",
        "dbndiff - dbnmeani / n": "sign",
    },
    "d19_emb": {
        "dembcat": "shape",
        "dembcat.view(emb.shape) / len(emb)": "",
        "-dembcat.view(emb.shape)": "sign",
    },
    "d20_C": {
        "torch.zeros_like(C).index_copy_(0, X.flatten(), demb.flatten(0, 1))": "overwritten",
        "torch.zeros_like(C).index_add_(0, X[:, 0], demb[:, 0])": "",
        "torch.zeros_like(C).index_add_(0, X.flatten(), demb.flatten(0, 1)) / len(X)": "",
        "C.index_add(0, X.flatten(), demb.flatten(0, 1))": "",
    },
}
