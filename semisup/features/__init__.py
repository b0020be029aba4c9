"""Features learned without a network, and the linear classifiers that score features of any kind."""
