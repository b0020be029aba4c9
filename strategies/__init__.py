"""The strategies that come with semisup, one a file; each arrives by the entry-point group `semisup.strategies`."""

COMBINED = "kmeans+pseudolabel"  # has a name of its own (pyproject.toml)
