"""What happens during a fit beside the step: checkpoints, probes."""
