"""Archives: nothing is written outside of their folder, nor more than was agreed to."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from fuzzing.damage import NAMES, damaged
from fuzzing.judging import Case, Property
from semisup.data.download import unpack_tar

_MOST_BYTES, _MOST_MEMBERS = 5000, 6
_KINDS = (*(tarfile.REGTYPE,) * 8, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
_HOSTILE = ("../x", "/x", "a/../../x", "..", ".", "", "a/", "a//b", "./a", "C:\\x", "..\\x", "a" * 300, "in/../../in/x")


@st.composite
def archive_cases(draw: DrawFn) -> Case:
    members, file = {}, io.BytesIO()
    names = st.one_of(NAMES, NAMES.map("folder/{}".format), st.sampled_from(_HOSTILE))
    with tarfile.open(
        fileobj=file, mode="w", format=draw(st.sampled_from((tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT)))
    ) as tar:
        for name in draw(st.lists(names, max_size=8)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = (
                draw(st.sampled_from(_KINDS)),
                draw(st.sampled_from(("/etc/passwd", "..", "a"))),
            )
            content = draw(st.binary(max_size=40)) * draw(st.sampled_from((1, 1, 1, 100)))
            member.size = len(content) if member.isreg() else 0
            try:
                tar.addfile(member, io.BytesIO(content))
            except ValueError:  # a name that this format can't hold
                continue
            if member.isreg():
                members[name] = content
    stored = file.getvalue()
    stored = gzip.compress(stored, 1, mtime=0) if draw(st.booleans()) else stored
    whole = draw(st.booleans())
    return Case(
        {"x.tar": stored if whole else draw(damaged(stored)), "in/there": b"before"}, members if whole else None
    )


def check_archive(case: Case) -> None:
    """Plain files come out as they were put in, and beside the folder nothing changes."""
    outside = {path for path in Path().rglob("*") if Path("in") not in path.parents}
    try:
        unpack_tar(Path("x.tar"), Path("in"), _MOST_BYTES, _MOST_MEMBERS)
    finally:
        assert {path for path in Path().rglob("*") if Path("in") not in path.parents} == outside
        files = [path for path in Path("in").rglob("*") if not path.is_dir()]
        assert not any(path.is_symlink() for path in Path("in").rglob("*")) and all(path.is_file() for path in files)
        assert sum(path.stat().st_size for path in files) <= _MOST_BYTES + len(b"before")
    assert len(files) <= _MOST_MEMBERS + 1
    for name, content in (case.given or {}).items():
        assert Path("in", os.path.normpath(name)).read_bytes() == content


PROPERTIES = (Property("archives", archive_cases(), check_archive, ("x.tar",), ("in/*",)),)
