"""Chains that ship besides the network: small ones, each of which makes a rule obvious."""

from __future__ import annotations

from makemore_cli.backprop.chain import Chain

SHIPPED: dict[str, Chain] = {}
