"""What the documentation names exists: links, pictures, commands, options, scripts; and it reads plainly."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import io
import re
import shlex
from pathlib import Path

import pytest

from jiidm.cli.main import main
from jiidm.config.load import load_config

PROJECT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for glob in ("*.md", "docs/**/*.md", "jiidm/assets/*.md") for path in PROJECT.glob(glob))
TWINS = [page for page in PAGES if page.name.endswith(".zh.md")]
LAUNCHERS = {
    ("bash", "run_train.sh"): ["train"],
    ("bash", "run_infer.sh"): ["infer"],
    ("bash", "run_paint.sh"): ["paint"],
    (".venv/bin/python", "-m", "jiidm"): [],
    ("jiidm",): [],
}
FORBIDDEN_OPENING = re.compile(r"(?:^|[.!?:]\s+|\|\s*|^[-*]\s+)((?:Of|By) \w+)", re.MULTILINE)

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
by_twin = pytest.mark.parametrize("twin", TWINS, ids=lambda page: str(page.relative_to(PROJECT)))


def prose(page):
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def headings(page):
    return re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)


def anchors(page):
    """GitHub's names of a page's headings."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for _, title in headings(page)}


def shell_lines(page):
    """Commands of the page's shell blocks, continued lines joined and comments cut off."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [command for line in lines for command in line.split(" && ")]
    return [shlex.join(words) for command in commands if (words := shlex.split(command, comments=True))]


def kit_arguments(words):
    """What a command hands to the command line of the kit, or None for another program."""
    for launcher, given in LAUNCHERS.items():
        if tuple(words[: len(launcher)]) == launcher:
            return [*given, *words[len(launcher) :]]
    return None


@functools.cache
def help_of(*command):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0, f"jiidm {' '.join(command)}: {printed.getvalue().splitlines()[-1]}"
    return printed.getvalue()


def unknown_options(arguments):
    options = [word.split("=")[0] for word in arguments if re.match(r"--[a-z]", word)]
    first = next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    known = set(re.findall(r"--[\w-]+", help_of(*arguments[:first])))
    return [option for option in options if option not in known]


def test_unknown_option_is_found():
    assert unknown_options(["infer", "masks/", "refs.json", "--fast", "--slow"]) == ["--slow"]


@by_page
def test_page_links_and_pictures_exist(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    missing = []
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(target)

    assert not missing


@by_page
def test_page_commands_have_only_options_that_the_parser_knows(page):
    commands = [shlex.split(line) for line in shell_lines(page)]
    commands += [span.split() for span in re.findall(r"`([^`\n]+)`", prose(page))]
    given = [arguments for words in commands if (arguments := kit_arguments(words))]
    wrong = {" ".join(arguments): unknown for arguments in given if (unknown := unknown_options(arguments))}

    assert not wrong


def option_values(arguments, option):
    return [value for name, value in zip(arguments, arguments[1:]) if name == option]


@by_page
def test_page_commands_set_only_what_their_config_has(page):
    for command in shell_lines(page):
        arguments = kit_arguments(shlex.split(command)) or []
        if assignments := option_values(arguments, "--set"):
            config = (option_values(arguments, "--config") or ["demo"])[0]
            load_config(config, assignments)


@by_page
def test_page_names_only_configs_and_scripts_that_exist(page):
    text = page.read_text(encoding="utf-8")
    configs = {f"configs/{name}.yaml" for name in re.findall(r"--config ([a-z_]+)\b(?![./])", text)}
    named = configs | set(re.findall(r"\b(?:configs|benchmarks|tests|examples)/[\w/]+\.(?:yaml|py|sh)\b", text))

    assert not [name for name in sorted(named) if not (PROJECT / name).exists()]


@by_page
def test_page_python_compiles_and_imports_what_there_is(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


@by_page
def test_page_has_no_sentence_that_opens_with_of_or_by(page):
    assert not FORBIDDEN_OPENING.findall(prose(page))


def test_architecture_names_every_room():
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = [*PROJECT.glob("jiidm/[a-z]*"), *PROJECT.glob("ldm_jittor/[a-z]*"), PROJECT / "jiidm/data/synthetic"]
    rooms = {module.stem for module in modules if module.suffix == ".py" or module.is_dir()}

    assert not [room for room in sorted(rooms) if not re.search(rf"[`/]{room}[`/]", text)]


def test_architecture_names_only_what_the_linked_files_define():
    page = PROJECT / "docs" / "architecture.md"
    wrong = []
    for line in page.read_text(encoding="utf-8").replace("\n   ", " ").splitlines():
        files = [page.parent / target for target in re.findall(r"\]\((\S+\.py)\)", line)]
        source = "\n".join(file.read_text(encoding="utf-8") for file in files)
        names = [name.split(".")[-1] for name in re.findall(r"`([A-Za-z_][\w.]*)`", line) if not name.endswith(".py")]
        wrong += [
            name for name in names if files and not re.search(rf"(def|class) {name}\b|^\s*{name}\b ?[:=]", source, re.M)
        ]

    assert not wrong


def test_readme_has_at_most_1000_words():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").split()) <= 1000


def test_readme_shows_picture_and_commands_on_the_first_screen():
    screen = (PROJECT / "README.md").read_text(encoding="utf-8").splitlines()[:20]

    assert any(line.startswith("![") for line in screen)
    assert {"bash run_infer.sh", "bash run_train.sh"} <= {line.split("#")[0].strip() for line in screen}


@by_twin
def test_chinese_twin_has_the_sections_commands_and_pictures_of_its_page(twin):
    page = twin.with_name(twin.name.replace(".zh.md", ".md"))
    pictures = [re.findall(r"!\[[^]]*\]\(([^)]+)\)", prose(each)) for each in (page, twin)]
    tables = [len(re.findall(r"^\|", prose(each), re.MULTILINE)) for each in (page, twin)]

    assert [level for level, _ in headings(twin)] == [level for level, _ in headings(page)]
    assert shell_lines(twin) == shell_lines(page)
    assert pictures[1] == pictures[0]
    assert tables[1] == tables[0]


@by_twin
def test_chinese_twin_has_the_figures_of_its_page(twin):
    page = twin.with_name(twin.name.replace(".zh.md", ".md"))
    decimals = [set(re.findall(r"\b\d+\.\d+\b", prose(each))) for each in (page, twin)]

    assert decimals[0] - decimals[1] <= {"4.6", "501.5", "1.2"}  # millions, which Chinese counts in 10,000s
