"""The strategies that come with semisup, one a file; each arrives through the entry-point group `semisup.strategies`."""
