"""Memory that is freed and asked for again costs no page faults, where the C library can be told so."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from semisup.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
counts = []
for _ in range(40):
    before = faults()
    torch.ones(16 << 20)  # 64 MB
    counts.append(faults() - before)
print(sum(counts[-4:]))  # the first few find their place
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_blocks_are_used_again() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") < 50
    assert faults("leave") > 100  # 32 pages of 2 MB, or many more of 4 KB, every time anew
