"""Every command that README, the site and docstrings show: run at small size, in order, in an empty folder.

What can't be run here (downloads, several devices, minutes of training) is parsed as it would be.
"""

from __future__ import annotations

import re
import shlex
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml
from picture_folders import cats_and_dogs, picture

from semisup import plugins
from semisup.cli import front
from semisup.cli.verbs import VERBS, Parser
from semisup.plugins import source

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = {  # verb -> what makes it small
    "fit": "--trainer.max_epochs 1 --data.steps_per_epoch 2 --data.batch_size 4 --tracking.mode disabled",
    "test": "--tracking.mode disabled",
    "figures": "--only confusion --force",
    "predict": "--force",
}
PARSED = (  # the beginnings of what is only parsed
    r"data download",
    r"(?!(test|predict|figures|report)).*stl10",
    r".*--data (cifar|svhn|eurosat|mnist)",
    r".*--trainer\.devices",
    r".*--model\.weights pretrained",
    r".*--simclr\.epochs",
    r"compare",
    r"dashboard",
    r"export",
    r"kmeans-features",
    r"report",
    r"sweep (?!.*--grid)",
)
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
    """The words, with runs that there are in place of RUN, `...` and patterns; the newest where none is as it says."""
    runs = sorted(Path("runs").glob("*/*/*"), key=lambda run: run.stat().st_mtime)
    words = []
    for word in argv:
        if re.search(r"\bRUN\b|\.\.\.|runs/.*\*", word):
            pattern = re.sub(r"RUN|\.\.\.", "*", word)
            there = sorted(Path().glob(pattern)) if pattern != "*" else []
            words += map(str, there[-1:] if "runs/" not in word or "*" not in word else there or runs[-1:])
            if not there and "*" not in word:
                words.append(str(runs[-1]))
        else:
            words.append(word)
    return words


@pytest.mark.slow
def test_every_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cats_and_dogs(Path("pictures"), 6)
    for k in range(8):
        picture(Path(f"pictures/unlabeled/{k}.png"))
        picture(Path(f"new-pictures/{k % 2}/{k}.png"))
        picture(Path(f"pictures/test/{('cat', 'dog')[k % 2]}/{k}.png"))
    picture(Path("pictures/new/1.png"))
    picture(Path("holiday.jpg"))
    Path("experiments").symlink_to(ROOT / "experiments")
    labels = [f"train/{kind}/{kind}{k}.png,{kind}\n" for kind in ("cat", "dog") for k in range(6)]
    Path("labels.csv").write_text("path,class\n" + "".join(labels))
    Path("mine.yaml").write_text(yaml.safe_dump({"strategy": "fixmatch"}))
    found = plugins.entry_points

    def install(package: Path) -> None:
        """As pip would, which there is no need for: on the path, and its entry points among the others."""
        monkeypatch.syspath_prepend(str(package))
        lines = (package / "pyproject.toml").read_text()
        group, name, target = re.findall(r'entry-points\."(.*)"\]\n(\S+) = "(.*)"', lines)[0]
        point = EntryPoint(name, target, group)
        patched = lambda group: [*found(group=group), *([point] if group == point.group else [])]  # noqa: E731
        monkeypatch.setattr(plugins, "entry_points", patched)

    done: set[str] = set()
    ran = 0
    for page in PAGES:
        for command in commands(page.read_text(encoding="utf-8")):
            if command in done:
                continue
            done.add(command)
            argv = arguments(command)
            if argv is None:
                package = re.fullmatch(r"pip install -e (semisup-\S+)", command)
                if package:
                    install(Path(package[1]))
                continue
            capsys.readouterr()
            if any(re.match(pattern, " ".join(argv)) for pattern in PARSED):
                parse(argv)
                continue
            more = [] if "--help" in argv or "--print_config" in argv or "--resume" in argv[:2] else SMALL.get(argv[0])
            words = [*with_runs(argv), *(shlex.split(more) if more else [])]
            words += ["--data.image_size", "16"] if argv[0] == "fit" and "--data folder" in command else []
            assert front.main(words) == 0, f"{page.name}: {command}\n{capsys.readouterr().err}"
            ran += 1
    assert ran >= 15


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
