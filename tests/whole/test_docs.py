"""The documentation holds: its examples run and show what they print, and help is complete.

`make docs` writes what is generated: tables, and the outputs shown below the
examples.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
import typer

from flowconv import ddl
from flowconv.answers.questions import QUESTIONS
from flowconv.cli.app import app
from flowconv.fields import FIELDS, Table
from flowconv.rows.table_columns import column_type
from support.commands import invoke

if TYPE_CHECKING:
    from support.s3_servers import S3Server
    from support.warm_start import WarmStart

ROOT = Path(__file__).parents[2]
# In the order of reading: examples use what those before them made.
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "docs/options.md",
        "docs/s3.md",
        "docs/cloudwatch.md",
        "docs/questions.md",
        "docs/querying.md",
        "docs/catalogs.md",
        "docs/expressions.md",
        "docs/columns.md",
        "docs/ocsf.md",
    )
}
UPDATE = "the page is behind the code; update it with: make docs"

COMMAND: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = COMMAND.commands

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"^(?:pip install|make) .*\n", re.MULTILINE)

# Times, and sizes after compression, which differ between releases of the compressing libraries.
MEASURED = re.compile(
    r"(?<=^time     ).*$|[0-9.]+ [kM]B(?= stored)|(?<=^written  )[0-9.]+ [kM]B", re.MULTILINE
)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A block of a page to be run; `shown` is the output below it, if there is one."""

    page: str
    line: int
    language: str
    code: str
    shown: str | None
    shown_at: tuple[int, int]

    @property
    def needs_s3(self) -> bool:
        return "s3://" in self.code


def find_examples(page: str, text: str) -> list[Example]:
    examples = []
    for block, after in pairwise(chain(FENCE.finditer(text), [None])):
        if block is None or block[1] not in ("shell", "python"):
            continue
        follows = (
            after is not None
            and after[1] == "text"
            and not text[block.end() : after.start()].strip()
        )
        shown = after[2] if after is not None and follows else None
        place = after.span(2) if after is not None and follows else (0, 0)
        line = text.count("\n", 0, block.start()) + 1
        examples.append(
            Example(
                page=page,
                line=line,
                language=block[1],
                code=block[2],
                shown=shown,
                shown_at=place,
            )
        )
    return examples


def run(
    example: Example,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    warm: WarmStart | None = None,
) -> str:
    """Run a block as a reader would, and return what it prints."""
    programs = [warm.bin] if warm else []
    programs.append(Path(sys.executable).parent)
    home = {"PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]])}
    home |= {"PYTHONUTF8": "1", "COLUMNS": "80", "TERM": "dumb", "HOME": str(folder)}
    if example.language == "shell":
        command = ["bash", "-euo", "pipefail", "-c", NOT_RUN.sub("", example.code)]
    elif warm:
        command = [str(warm.bin / "python-c"), example.code]
    else:
        command = [sys.executable, "-W", "error", "-c", example.code]
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=home | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 0, (
        f"{example.page}:{example.line}: exit code {done.returncode}\n{done.stdout}"
    )
    return "".join(
        f"{line.rstrip()}\n" for line in done.stdout.replace(str(folder), "/home/you").splitlines()
    )


EXAMPLES = [example for page, text in PAGES.items() for example in find_examples(page, text)]
BEGIN, *LOCAL = [example for example in EXAMPLES if not example.needs_s3]
IN_S3 = [example for example in EXAMPLES if example.needs_s3]


def line_ids(example: Example) -> str:
    return f"{example.page}-{example.line}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first block of README was run, by the command as it is installed."""
    folder = tmp_path_factory.mktemp("home").resolve()
    run(BEGIN, folder)
    return folder


@pytest.fixture(scope="module")
def ran() -> set[Example]:
    """The examples that were run in `home`."""
    return set()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("example", LOCAL, ids=line_ids)
def test_example_runs_and_prints_what_is_shown(
    example: Example, home: Path, warm: WarmStart, ran: set[Example]
) -> None:
    # Another worker may have run what stands before it on its page.
    for before in LOCAL[: LOCAL.index(example)]:
        if before.page == example.page and before not in ran:
            run(before, home, warm=warm)
            ran.add(before)
    printed = run(example, home, warm=warm)
    ran.add(example)
    if example.shown is not None:
        assert MEASURED.sub("…", example.shown) == MEASURED.sub("…", printed), UPDATE


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("example", IN_S3, ids=line_ids)
def test_s3_example_runs(
    example: Example, home: Path, moto_s3: S3Server, tmp_path: Path, warm: WarmStart
) -> None:
    logs, lake = moto_s3.make_bucket(), moto_s3.make_bucket()
    s3 = moto_s3.client()
    for path in sorted((home / "logs").rglob("*.log.gz")):
        key = path.relative_to(home / "logs").as_posix()
        s3.put_object(Bucket=logs, Key=key, Body=path.read_bytes())
    code = example.code.replace("my-logs", logs).replace("my-lake", lake)
    code = code.replace("https://s3.example.net", moto_s3.endpoint_url)
    here = replace(example, code=code)
    printed = run(here, tmp_path, moto_s3.environment(), warm=warm)
    assert re.search(r"^rows +[1-9][0-9,]* in vpc/$", printed, re.MULTILINE), printed


def test_examples_were_found() -> None:
    assert len(LOCAL) >= 10
    assert len(IN_S3) >= 2
    assert sum(example.shown is not None for example in LOCAL) >= 7


def test_readme_begins_with_what_it_is_how_to_install_convert_and_query() -> None:
    first = PAGES["README.md"].splitlines()[:50]
    for wanted in ("pip install", "flowconv generate", "flowconv convert", "pl.scan_parquet", "└"):
        assert any(wanted in line for line in first), wanted


def column_table(table: Table) -> str:
    rows = [
        f"| `{field.name}` | `{field.column}` | {column_type(field, 'timestamp')} "
        f"| {field.version} | {field.meaning} |"
        for field in FIELDS[table]
    ]
    return "\n".join(
        ["| Field | Column | Type | Version | Meaning |", "|---|---|---|---|---|", *rows]
    )


def option_table() -> str:
    rows = []
    for param in COMMANDS["convert"].params:
        if param.param_type_name != "option":
            continue
        names = ", ".join(f"`{name}`" for name in param.opts)
        has_default = isinstance(param.default, str | int | float) and param.default is not False
        default = f"`{param.default}`" if has_default else ""
        choices = (param.metavar or "").split("|")
        listed = f" One of {', '.join(f'`{name}`' for name in choices)}." * (len(choices) > 1)
        rows.append(f"| {names} | {default} | {param.help}{listed} |")
    return "\n".join(["| Option | Default | Meaning |", "|---|---|---|", *rows])


def question_table() -> str:
    rows = [f"| `{name}` | {question.help} |" for name, question in QUESTIONS.items()]
    return "\n".join(["| Question | Answer |", "|---|---|", *rows])


# Between markers with these names.
SECTIONS: dict[tuple[str, str], Callable[[], str]] = {
    ("docs/options.md", "options"): option_table,
    ("docs/questions.md", "questions"): question_table,
    ("docs/columns.md", "columns-vpc"): lambda: column_table(Table.VPC),
    ("docs/columns.md", "columns-tgw"): lambda: column_table(Table.TGW),
}


@pytest.mark.parametrize(("page", "name"), SECTIONS)
def test_generated_section_equals_the_code(page: str, name: str) -> None:
    section = f"<!-- {name} -->\n{SECTIONS[page, name]()}\n<!-- /{name} -->\n"
    assert section in PAGES[page], UPDATE


@pytest.mark.parametrize("page", [*PAGES, "docs/shapes.md", "docs/jobs.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert link.startswith("https://") or ((ROOT / page).parent / link).exists(), link


def test_athena_statement_is_that_of_ddl(sample_lake: Path) -> None:
    shown = PAGES["docs/querying.md"].partition("<!-- athena -->\n```sql\n")[2].partition("```")[0]
    statement = ddl(str(sample_lake), "athena", location="s3://my-lake/flows")
    before, after = shown.split("…\n")[-2:]
    assert statement.startswith(before)
    assert after in statement


def test_readme_leads_to_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages == set(re.findall(r"\]\(docs/([\w-]+\.md)\)", PAGES["README.md"]))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_help_with_an_example(name: str) -> None:
    shown = invoke([name, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    assert COMMANDS[name].help
    example = shown.output.partition("Examples")[2]
    assert f"flowconv {name}" in example


def parameters() -> Iterator[tuple[str, Any]]:
    for name, command in {"flowconv": COMMAND, **COMMANDS}.items():
        for param in command.params:
            yield f"{name} {param.opts[-1]}", param


@pytest.mark.parametrize("param", [pytest.param(p, id=name) for name, p in parameters()])
def test_parameter_has_help(param: Any) -> None:
    assert param.help
    assert param.help.endswith((".", "]")), "a sentence ends with a full stop"


@pytest.mark.parametrize(
    "param", [p for p in COMMANDS["convert"].params if p.param_type_name == "option"], ids=str
)
def test_page_names_every_option_of_convert(param: Any) -> None:
    assert all(f"`{name}`" in PAGES["docs/options.md"] for name in param.opts)


def test_readme_names_every_command() -> None:
    assert all(f"flowconv {name}" in PAGES["README.md"] for name in COMMANDS)


def test_contributing_shows_every_package_and_names_modules_that_exist() -> None:
    package = ROOT / "flowconv"
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = text.partition("```mermaid")[2].partition("```")[0]
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert packages == packages.intersection(re.findall(r"\w+", picture))
    table = text.partition("| to find |")[2].partition("\n\n")[0]
    modules = re.findall(r"`([a-z_/]+)`", table)
    assert len(modules) > 10
    for module in modules:
        file = f"{module}__init__.py" if module.endswith("/") else f"{module}.py"
        assert (package / file).is_file(), module


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_made(shell: str) -> None:
    # `flowconv --show-completion` finds out which shell it runs in; this is how it is told.
    done = subprocess.run(
        [Path(sys.executable).parent / "flowconv"],
        check=False,
        env={**os.environ, "_FLOWCONV_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert "_FLOWCONV_COMPLETE" in done.stdout


def update_pages() -> None:
    pages = dict(PAGES)
    for (page, name), render in SECTIONS.items():
        before, _, rest = pages[page].partition(f"<!-- {name} -->\n")
        after = rest.partition(f"<!-- /{name} -->")[2]
        pages[page] = f"{before}<!-- {name} -->\n{render()}\n<!-- /{name} -->{after}"
    with TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        for page, text in pages.items():
            examples = [example for example in find_examples(page, text) if not example.needs_s3]
            outputs = [(example, run(example, home)) for example in examples]
            written = text
            for example, output in reversed(outputs):
                if example.shown is not None:
                    start, end = example.shown_at
                    written = f"{written[:start]}{output}{written[end:]}"
            (ROOT / page).write_text(written, encoding="utf-8")


if __name__ == "__main__":
    update_pages()
