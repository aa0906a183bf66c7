"""What the documents say is there: settings, commands, targets, files and tests."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import get_type_hints

import pytest

from threadline.environment import Section, variables_of
from threadline.graphs.keys import KEYS
from threadline.settings import Settings, WorkerSettings, load_settings
from threadline.tests.source import ROOT, documents, files, modules, requirements

HEADINGS = ["Context", "Decision", "Consequences", "Alternatives"]
LONGEST_DECISION = 60
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def read(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def settings() -> Iterator[tuple[str, tuple[str, ...], object]]:
    """Yield the attribute, the variables and the default of each setting."""
    hints = get_type_hints(Settings)
    for section in fields(Settings):
        of_section: type[Section] = hints[section.name]
        for name, info in of_section.model_fields.items():
            yield f"{section.name}.{name}", variables_of(info), info.default


def written(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case timedelta():
            return f"{default.total_seconds():g}"
        case tuple():
            return ",".join(default)
        case _:
            return str(default)


def defaults() -> dict[str, str]:
    return {names[0]: written(default) for _, names, default in settings()}


def test_the_example_names_every_setting_with_its_default() -> None:
    assert dict(re.findall(r"^#([A-Z_]+)=(.*)$", read(".env.example"), flags=re.MULTILINE)) == defaults()


def test_the_example_taken_as_it_stands_changes_nothing(tmp_path: Path) -> None:
    copy = tmp_path / ".env"
    copy.write_text(re.sub(r"^#([A-Z_]+=)", r"\1", read(".env.example"), flags=re.MULTILINE))
    assert load_settings(environ={}, env_file=copy) == Settings()


def test_the_example_gives_each_setting_a_reason() -> None:
    for paragraph in read(".env.example").split("\n\n")[1:]:
        *comment, last = paragraph.strip().splitlines()
        assert last.startswith("#")
        assert comment, f"{last} needs a line that says what it is and why so"
        assert all(line.startswith("# ") for line in comment)


def test_the_settings_page_names_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)`(.*?) \| (?:`(.*?)`|unset) \|", read("docs/settings.md"), flags=re.MULTILINE)
    assert {name: default for name, _, default in rows} == defaults()
    others = {name: tuple(re.findall(r"`([A-Z0-9_]+)`", more)) for name, more, _ in rows}
    assert others == {names[0]: names[1:] for _, names, _ in settings()}


def test_the_page_of_langgraph_json_names_every_key_that_the_code_knows() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| (yes|no|build) \| ?(.*?) ?\|$", read("docs/langgraph-json.md"), flags=re.MULTILINE
    )
    assert [(name, use) for name, use, _ in rows] == [(name, str(key.use)) for name, key in KEYS.items()]
    for name, use, text in rows:
        if use == "no":
            assert text.replace("`", "") == KEYS[name].note.replace("`", ""), (
                f"{name}: the page and the warning say different things"
            )


def test_every_setting_is_used_by_some_module() -> None:
    for attribute, names, _ in settings():
        field = attribute.split(".")[1]
        uses = re.compile(rf"\.{field}\b")
        used = any(uses.search(module.text) for module in modules() if module.name not in {"settings", "environment"})
        assert used, f"{names[0]}: nothing reads {attribute}"


def test_the_container_may_take_longer_to_stop_than_the_drain() -> None:
    grace = [int(each) for each in re.findall(r"stop_grace_period: (\d+)s", read("docker-compose.yml"))]
    assert grace
    assert min(grace) > WorkerSettings().drain.total_seconds()


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: (\S+)$", read("Makefile"), flags=re.MULTILINE))


def commands_in(text: str) -> str:
    return "\n".join(CODE.findall(text))


def places() -> list[tuple[str, str]]:
    """Return what tells people to run something: documents, containers and scripts."""
    scripts = ["Makefile", "Dockerfile", ".ci/run", ".pre-commit-config.yaml", ".env.example"]
    return [(str(path), commands_in(text)) for path, text in documents()] + [(path, read(path)) for path in scripts]


def test_every_make_target_that_is_named_exists() -> None:
    for path, text in places():
        lines = [re.sub(r"=('[^']*'|\S+)", "=", line) for line in text.splitlines() if not line.startswith("#")]
        for words in re.findall(r"(?:^|[\s`\"])make((?: +[\w-]+=?)+)", "\n".join(lines)):
            named = {word for word in words.split() if not word.endswith("=")}
            assert named <= make_targets(), f"{path}: make{words}"


def test_every_make_target_explains_itself() -> None:
    for target in make_targets():
        assert re.search(rf"^{target}:.*## \w+", read("Makefile"), flags=re.MULTILINE), target


@cache
def help_of(*command: str) -> str:
    program = Path(sys.executable).with_name("threadline")
    shown = subprocess.run([program, *command, "--help"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, f"threadline {' '.join(command)}: {shown.stderr}"
    return shown.stdout


def test_every_threadline_command_that_is_named_exists() -> None:
    named = [
        (path, command, re.findall(r"--[a-z-]+", rest))
        for path, text in places()
        for command, rest in re.findall(r"(?<![\w/-])threadline ([a-z]+)((?: +[\w./:-]+)*)", text)
    ]
    looking_back = {"replay", "history", "diff", "fork", "export", "traces"}
    running = {"serve", "api", "worker", "migrate", "ingest", "demo"}
    migrating = {"doctor", "adopt"}
    encrypting = {"keygen", "rotate"}
    assert {command for _, command, _ in named} == running | looking_back | migrating | encrypting
    for path, command, flags in named:
        missing = [flag for flag in flags if flag not in help_of(command)]
        assert not missing, f"{path}: threadline {command} has no {missing}"


def test_the_containers_start_commands_that_exist() -> None:
    starts = re.findall(
        r"(?:CMD|command:) (\[.*\])$", read("Dockerfile") + read("docker-compose.yml"), flags=re.MULTILINE
    )
    assert len(starts) == 4
    for command, *flags in map(json.loads, starts):
        assert all(flag in help_of(command) for flag in flags if flag.startswith("--"))


def test_every_link_between_files_leads_somewhere() -> None:
    for path, text in documents():
        for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", text)):
            file, _, heading = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            linked = (ROOT / path).parent / file if file else ROOT / path
            assert linked.exists(), f"{path} links to {target}"
            assert not heading or heading in anchors(linked), f"{path} links to {target}"


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_file_that_a_document_names_exists() -> None:
    known = {str(path) for path in files()} | {str(path.parent) for path in files()}
    folders = "|".join(sorted({path.parts[0] for path in files() if len(path.parts) > 1}))
    for path, text in documents():
        for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", text):
            assert name.rstrip("/") in known or "<" in name, f"{path} names {name}"


def test_every_test_that_a_document_names_exists() -> None:
    names = {name for module in modules(tests=True) for name in re.findall(r"def (test_\w+)", module.text)}
    for path, text in documents():
        missing = {name for name in re.findall(r"\btest_\w+\b(?!\.py)", text) if name not in names}
        assert not missing, f"{path} names tests that are not there"


@pytest.mark.parametrize("path", [path for path in files() if path.parent == Path("docs/decisions")], ids=str)
def test_every_decision_says_what_it_cost(path: Path) -> None:
    text = read(str(path))
    number = re.fullmatch(r"(\d{4})-[a-z0-9-]+\.md", path.name)
    assert number, "name it NNNN-what.md"
    assert re.match(rf"# {number[1]}: \w+", text)
    headings = re.findall(r"^## (\w+)", text, flags=re.MULTILINE)
    assert [each for each in headings if each in HEADINGS] == HEADINGS
    assert sum(not line.startswith("|") for line in text.splitlines()) <= LONGEST_DECISION


def test_no_two_decisions_share_a_number() -> None:
    numbers = [path.name[:4] for path in files() if path.parent == Path("docs/decisions")]
    assert len(numbers) == len(set(numbers))


def test_every_direct_dependency_has_a_reason_on_file() -> None:
    rows = re.findall(r"^\| (`.*?) \|", read("docs/decisions/0003-dependencies.md"), flags=re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}
    assert explained == {
        requirement.name for requirement in (*requirements(), *requirements("embedded", "local-model", "dev"))
    }


def test_each_ending_in_the_life_of_a_run_has_the_test_of_its_name() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/life-of-a-run.md").read_text()))
    written = set(re.findall(r"def (test_\w+)", (ROOT / "tests/runs/test_life_of_a_run.py").read_text()))
    assert named == written
