"""Layers and a loss with backward passes derived by hand, each as a `torch.autograd.Function`.

They are here to be read and checked: every one agrees with autograd to the last digits of float64. E is the loss that
the gradients are of, and g = dE/dy what comes back to a layer.
"""
