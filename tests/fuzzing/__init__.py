"""Properties of every reader of files and every numeric option: whatever comes in, it is right or one clear error.

`tests/test_fuzz.py` tries some hundred cases of them, `experiments/fuzz.py` as many as it is asked to. One subject a
file: `data_files`, `yaml_files`, `run_files`, `checkpoints`, `archives`, `options`; how contents are damaged is in
`damage`, what a case is and how it is judged in `judging`.
"""

from __future__ import annotations

from fuzzing import archives, checkpoints, data_files, options, run_files, yaml_files
from fuzzing.judging import Property

PROPERTIES: tuple[Property, ...] = (
    *data_files.PROPERTIES,
    *yaml_files.PROPERTIES,
    *run_files.PROPERTIES,
    *checkpoints.PROPERTIES,
    *archives.PROPERTIES,
    *options.PROPERTIES,
)
