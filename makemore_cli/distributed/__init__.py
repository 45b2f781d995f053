"""Several processes that share each batch, on one machine or many, by torch.distributed."""
