"""The W&B dashboard of a dataset's runs: a saved workspace and a report, made of what the runs logged.

`runs` reads run directories, `panels` says what is shown of what they logged, `differences` reckons what W&B can't,
`build` makes wandb-workspaces' workspace and report of it, and `upload` saves them; only these two need that package.
`sweep` stands by itself: values to try for the options of a strategy, for W&B's sweeps or for a plain list of commands.
"""
