"""Networks: backbones, input normalisation, moving average, optimisers."""
