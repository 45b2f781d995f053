"""Is the hand-written backward pass right? Sources of gradients, held against each other, tensor by tensor."""
