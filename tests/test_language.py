"""Names, docstrings, pages and comments are in field terms, one meaning per word (CONTRIBUTING, docs/glossary.md)."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/redoxmd"
# Names that do not say what they hold.
VAGUE = {
    *("found", "seen", "kept", "place", "part", "parts", "one", "ones", "thing", "things", "way", "gone", "left"),
    *("given", "said", "known", "about", "here", "there", "what", "who", "these", "those", "rest", "others", "other"),
}
# Shares in percent, as in other well-kept packages of the field: at most 0.7 and 1.1.
MAX_VAGUE = 0.7
MAX_WHAT = 1.1
# Number of docstrings with a word that the glossary excludes; lower it when they become fewer.
MAX_EXCLUDED = 0

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "config/README.md"]
PAGES += [*sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "workflow/report").glob("*.rst"))]
COMMENTED = [ROOT / "Makefile", ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
COMMENTED += [*sorted((ROOT / "config").glob("*.yaml")), *sorted((ROOT / "workflow/profiles").rglob("*.yaml"))]
COMMENTED += sorted((ROOT / "envs").iterdir())
# Names with an excluded word; the list must not grow.
NAMES_TO_CHANGE = {"set_aside", "wants_density"}
# Public names that several modules define with one meaning: interfaces of engines, figures and commands.
INTERFACES = {"add_commands", "available", "create", "draw", "inspect", "level_of_config", "physical_settings"}


# Values that tables have, and words of VASP's files.
FIXED_WORDS = re.compile(r"not told from zero|no ion's diffusion is told from zero|magnetization \\\(x")


@cache
def trees():
    """Syntax tree of every module and script, read by the process that runs these tests only."""
    paths = [*PACKAGE.rglob("*.py"), *(ROOT / "workflow/scripts").glob("*.py")]
    return {path: ast.parse(path.read_text()) for path in sorted(paths)}


def excluded_words():
    """Words of the last table of the glossary."""
    glossary = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| not used \|.*\n\|---.*\n((?:\|.*\n?)+)", glossary, re.MULTILINE)
    return [word for row in table.splitlines() for word in row.split("|")[1].strip().split(", ")]


def pattern(words):
    """Any of these words or phrases, also across a line break; no parts of compounds such as stand-in."""
    phrases = sorted((r"\s+".join(map(re.escape, word.split())) for word in words), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(phrases)})(?![\w-])", re.IGNORECASE)


EXCLUDED = pattern(excluded_words())


def prose(text):
    """Text without code, addresses and quoted messages, whose words are not its own."""
    text = text.split("\n| not used |")[0]
    return re.sub(r"```.*?```|`[^`\n]*`|\]\([^)\n]*\)|\"[^\"\n]*\"", " ", text, flags=re.DOTALL)


def comments(text):
    """Comments of a YAML, make or Snakemake file, joined so that sentences continue over lines."""
    return "\n".join(re.findall(r"(?:^|\s)#+ (.*)$", text, re.MULTILINE))


def docstrings():
    """(file, docstring) of every module, class and function."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (text := ast.get_docstring(node)):
                yield path.relative_to(ROOT).as_posix(), text


def messages(tree):
    """Strings with a space that are no docstrings: messages, descriptions, labels of figures."""
    own = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in own:
            yield FIXED_WORDS.sub("", node.value) if " " in node.value else ""


def comments_of_code(text):
    """Comments of Python code, joined."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT)


def test_bindings_say_what_they_hold():
    names = [
        (path.relative_to(ROOT).as_posix(), node.lineno, node.id)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    vague = [name for name in names if name[2] in VAGUE]
    assert 100 * len(vague) / len(names) <= MAX_VAGUE, vague


def test_docstrings_are_plain_sentences():
    texts = list(docstrings())
    riddles = [(path, text.splitlines()[0]) for path, text in texts if re.search(r"\bwhat\b", text, re.IGNORECASE)]
    assert 100 * len(riddles) / len(texts) <= MAX_WHAT, riddles


def test_docstrings_use_the_words_of_the_glossary():
    excluded = [(path, match[0]) for path, text in docstrings() if (match := EXCLUDED.search(prose(text)))]
    assert len(excluded) <= MAX_EXCLUDED, excluded


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_use_the_words_of_the_glossary(path):
    assert EXCLUDED.findall(prose(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", COMMENTED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_comments_use_the_words_of_the_glossary(path):
    assert EXCLUDED.findall(prose(comments(path.read_text(encoding="utf-8")))) == []


def test_messages_and_comments_of_the_code_use_the_words_of_the_glossary():
    excluded = [
        (path.relative_to(ROOT).as_posix(), match[0])
        for path, tree in trees().items()
        for text in (*messages(tree), prose(comments_of_code(path.read_text())))
        if (match := EXCLUDED.search(text))
    ]
    assert excluded == []


def test_an_excluded_word_is_found():
    assert EXCLUDED.findall(prose('The run goes\non; see `goes_on`, [it](goes-on.md) and "it goes on".')) == [
        "goes\non"
    ]
    assert EXCLUDED.findall(prose(comments("key: 1  # handed in\n# goes\n  # on\n"))) == ["handed in", "goes\non"]
    assert EXCLUDED.findall("a stand-in, a rethinking") == []
    code = 'def f(n):\n    """It goes on."""\n    # goes\n    # on\n    return f"{n} steps go on"\n'
    assert EXCLUDED.findall(comments_of_code(code)) == ["goes\non"]
    assert EXCLUDED.findall("".join(messages(ast.parse(code)))) == ["go on"]


def test_names_use_the_words_of_the_glossary():
    names = {node.name for tree in trees().values() for node in ast.walk(tree) if hasattr(node, "name") and node.name}
    phrases = {name: re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).replace("_", " ") for name in names}
    assert {name for name, phrase in phrases.items() if EXCLUDED.search(phrase)} <= NAMES_TO_CHANGE


def test_public_names_have_one_meaning():
    modules = defaultdict(list)
    for path, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(path.relative_to(ROOT).as_posix())
    repeated = {name: files for name, files in modules.items() if len(files) > 1}
    assert {name: files for name, files in repeated.items() if name not in INTERFACES} == {}
