"""Every command that README, the site and docstrings show: run at small size, in order, in an empty folder.

What is only parsed, as it would be before it runs:

- downloads and pretrained weights, which need a network;
- `--trainer.devices`: further processes take seconds each to begin (tests/test_fit_processes.py trains in two);
- what docstrings show, since every method trains in other tests (tests/methods.py).

`torchrun` and `srun` are not started, but what they start is, once. A report is written without its pictures. Programs
that are not semisup's have tests of their own; in place of the ladder's runs (tests/test_experiments.py), its report is
given the course's.
"""

from __future__ import annotations

import re
import shlex
from importlib.metadata import EntryPoint
from pathlib import Path

import forked
import pytest
import yaml
from picture_folders import cats_and_dogs, picture
from test_stl10 import write_stl10

from semisup import plugins
from semisup.cli import front, report
from semisup.cli.verbs import VERBS, Parser
from semisup.compare import processes
from semisup.plugins import source
from semisup.report.sections import Pictures

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"), key=lambda page: (page.stem != "wandb", page))  # dashboards need its run
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
_SHORT = "--trainer.max_epochs 1 --data.steps_per_epoch 2 --data.batch_size 4"
SMALL = {  # how a command begins -> what makes it small
    r"fit(?! --resume)(?!.*--(help|print_config))": _SHORT,
    r"fit .*--data folder": "--data.image_size 16",
    r"(fit|kmeans-features) .*stl10": "--data.root stl10",
    r"fit .*(kmeans|combined)": "--kmeans.images 100",
    r"fit .*exemplar": "--exemplar.images 8 --exemplar.samples_per_class 4",
    r"fit .*simclr": "--simclr.epochs 1",
    r"fit .*--pseudolabel\.top_k": "--pseudolabel.top_k 2",
    r"(fit|test|compare)(?! --resume)(?!.*(--help|--print_config|--tracking))": "--tracking.mode disabled",
    r"compare": f"--seeds 1 --labels 40 --jobs 2 {_SHORT}",
    r"figures": "--only filters --force",
    r"predict": "--force",
    r"kmeans-features": "--centroids 8",
}
PARSED = (r"data download", r".*--model\.weights pretrained", r".*--trainer\.devices")  # how what is only parsed begins
OTHERS = (  # commands that are not semisup's: what they may be
    r"python3 -m venv \.venv",
    r"(\.venv/bin/)?pip install (-e )?\S+",
    r"pip wheel --no-deps \.",
    r"source \.venv/bin/activate",
    r"\.venv/bin/python -m pytest.*",
    r"\.venv/bin/(ruff check|ruff format --check) \.|\.venv/bin/mypy|\.ci/run",
    r"python -m mkdocs (build --strict|serve)",
    r"python (-m )?experiments\S+.*",
)


def commands(text: str) -> list[str]:
    """The commands of a page's blocks, each on one line."""
    blocks = "\n".join(re.findall(r"^ *```bash\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL))
    lines = re.sub(r"\\\n\s*", "", blocks).splitlines()
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return [command.strip() for line in lines if line for command in line.split("&&")]


def arguments(command: str) -> list[str] | None:
    """What a command gives to semisup; None where it is another program's."""
    words = shlex.split(command)
    for k, word in enumerate(words):
        if Path(word).name == "semisup" and (k == 0 or words[k - 1] == "-m"):
            return words[k + 1 :]
    return None


def test_every_page_has_known_commands_alone() -> None:
    """One that is neither semisup's nor known would be tested nowhere."""
    shown = [command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]
    assert len(shown) > 40
    unknown = [c for c in shown if arguments(c) is None and not any(re.fullmatch(o, c) for o in OTHERS)]
    assert not unknown
    for command in shown:
        for script in re.findall(r"\bexperiments/\S+\.(?:py|yaml)\b", command):
            assert (ROOT / script).is_file(), command
        for module in re.findall(r"-m (experiments\S+)", command):
            assert (ROOT / module.replace(".", "/")).exists() or (ROOT / f"{module.replace('.', '/')}.py").exists()


def parse(argv: list[str]) -> None:
    """Parses what follows `semisup` and does nothing else."""
    verb, rest = VERBS[argv[0]], argv[1:]
    if verb.options:
        assert front.main([*argv, "--print_config"]) == 0, argv
        return
    parser = Parser(f"semisup {argv[0]}", allow_abbrev=False)
    parser.given = rest
    front._module(argv[0]).add_options(parser)
    _, more = parser.parse_known_args(rest)
    assert verb.passes_on or not more, argv
    if more:
        assert front.main(["fit", *more, "--print_config"]) == 0, argv


def with_runs(argv: list[str]) -> list[str]:
    """The words, with the runs that there are in place of patterns, and the newest one in place of RUN."""
    words: list[str] = []
    for word in argv:
        if "*" in word:
            words += sorted(map(str, Path().glob(word))) or pytest.fail(f"there is no {word}")
        elif "RUN" in word:
            folder, _, file = word.partition("RUN")
            there = sorted(Path(folder or "runs").rglob("config.yaml"), key=lambda path: path.parent.name)
            words.append(f"{there[-1].parent}{file}")
        else:
            words.append(word)
    return words


def small(argv: list[str]) -> list[str]:
    """What makes a command small; of an option that is typed twice the second counts."""
    line = " ".join(argv)
    return [word for begin, more in SMALL.items() if re.match(begin, line) for word in more.split()]


def undrawn(arms: object, out: Path) -> Pictures:
    """In place of drawing every figure of a report, which takes seconds."""
    out.mkdir(exist_ok=True)
    return Pictures(None, {}, {})


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_login: None) -> None:
    """A folder with what the pages take for granted: pictures and labels, a small STL-10, a file of options."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(processes, "_start", forked.task)
    monkeypatch.setattr(report, "_draw", undrawn)
    cats_and_dogs(Path("pictures"), 6)
    for k in range(8):
        picture(Path(f"pictures/unlabeled/{k}.png"))
        picture(Path(f"new-pictures/{k % 2}/{k}.png"))
        picture(Path(f"pictures/test/{('cat', 'dog')[k % 2]}/{k}.png"))
    picture(Path("pictures/new/1.png"))
    picture(Path("holiday.jpg"))
    write_stl10(Path("stl10"), side=16)
    Path("experiments").symlink_to(ROOT / "experiments")
    labels = [f"train/{kind}/{kind}{k}.png,{kind}\n" for kind in ("cat", "dog") for k in range(6)]
    Path("labels.csv").write_text("path,class\n" + "".join(labels))
    Path("mine.yaml").write_text(yaml.safe_dump({"strategy": "fixmatch"}))


@pytest.mark.slow
@pytest.mark.usefixtures("there")
def test_every_command_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = plugins.entry_points

    def install(package: Path) -> None:
        """As pip would, which there is no need for: on the path, and its entry points among the others."""
        monkeypatch.syspath_prepend(str(package))
        lines = (package / "pyproject.toml").read_text()
        group, name, target = re.findall(r'entry-points\."(.*)"\]\n(\S+) = "(.*)"', lines)[0]
        point = EntryPoint(name, target, group)
        patched = lambda group: [*found(group=group), *([point] if group == point.group else [])]  # noqa: E731
        monkeypatch.setattr(plugins, "entry_points", patched)

    def run_another(command: str) -> None:
        """What is there of the commands that are not semisup's."""
        if package := re.fullmatch(r"pip install -e (semisup-\S+)", command):
            install(Path(package[1]))
        elif re.match(r"python experiments/ladder/climb\.py", command):
            Path("runs/ladder").mkdir()
            Path("runs/ladder/runs").symlink_to(Path("runs/course").resolve())

    shown: dict[str, Path] = {}
    for page in PAGES:
        for command in commands(page.read_text(encoding="utf-8")):
            shown.setdefault(command, page)
    parsed = []
    for command, page in shown.items():
        capsys.readouterr()
        argv = arguments(command)
        if argv is None:
            run_another(command)
        elif any(re.match(pattern, " ".join(argv)) for pattern in PARSED):
            parse(argv)
            parsed.append(command)
        else:
            said = front.main([*with_runs(argv), *small(argv)])
            assert said == 0, f"{page.name}: {command}\n{capsys.readouterr().err}"
    assert len(parsed) < len(shown) / 8
    assert Path("runs/compare/digits/page.html").is_file() and Path("sweep-fixmatch.yaml").is_file()


def test_every_command_of_a_docstring_is_parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("experiments").symlink_to(ROOT / "experiments")
    shown = set()
    for group in (plugins.STRATEGIES, plugins.DATAMODULES, plugins.BACKBONES):
        for point in plugins.installed(group).values():
            text = source.describe(point.value).text
            joined = re.sub(r" \\\n\s*", " ", text)
            shown |= set(re.findall(r"^(?:    )?((?:python -m )?semisup (?!data).*)", joined, flags=re.MULTILINE))
    assert len(shown) >= len(plugins.installed(plugins.STRATEGIES)) - 5
    for command in sorted(shown):
        argv = arguments(re.sub(r"\s+#.*", "", command))
        assert argv is not None
        if argv[0] in VERBS and "RUN" not in argv and "--help" not in argv:
            parse(argv)
