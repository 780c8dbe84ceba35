"""The habits of CONTRIBUTING.md that a machine can check, by reading the source."""

import ast
import functools
import pathlib
import re

import pytest

import hybrid_jax
from hybrid_jax.models.fusions import FUSIONS
from hybrid_jax.models.heads import HEADS
from hybrid_jax.robustness.suites import SUITES

PACKAGE = pathlib.Path(hybrid_jax.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]

# "file: function" -> why it may be longer than 60 lines.
LONG_FUNCTIONS = {
    "train/step.py: make_train_step": "closures over the same four names",
}
# "file: function" -> why it takes an option by position.
POSITIONAL_OPTIONS = {
    "__init__.py: __getattr__": "the name is Python's",
    "config/tree.py: defaults": "one argument, a name",
}
# file -> why it imports flags although only `main` reads them.
FLAG_IMPORTS = {
    "data/pipeline.py": "Grain's worker processes need flags that are marked as parsed",
    "ops/attention/tokamax_kernels.py": "so does tokamax, while a kernel is traced",
}
# file -> why it resizes a map to a shape, where others keep cells in place.
RESIZED_MAPS = {
    "models/decoders/pyramid_pooling.py": "its levels divide all of a map into as many bins"
}


@functools.cache
def tree_of(name):
    """Parses a file when a check wants it, not in every process that collects tests."""
    return ast.parse((PACKAGE / name).read_text())


def every_file(check):
    """Makes one test of a check of one file, which reports the faults of all files."""

    def test():
        faults = []
        for name in NAMES:
            try:
                check(name)
            except AssertionError as error:
                faults.append(f"{name}: {error}")
        assert not faults, "\n".join(faults)

    test.__name__ = check.__name__
    return test


def definitions(tree, *, inside=""):
    """Yields (qualified name, node, its class or None) of all that is not nested code."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield f"{inside}{node.name}", node, None
            for qualified, inner, _ in definitions(node, inside=f"{node.name}."):
                yield qualified, inner, node
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{inside}{node.name}", node, None


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def is_protocol(node):
    return node is not None and any("Protocol" in ast.unparse(b) for b in node.bases)


def is_property(node):
    return any("property" in ast.unparse(d) for d in getattr(node, "decorator_list", ()))


@every_file
def test_module_says_what_it_is(name):
    if (PACKAGE / name).stat().st_size:
        assert ast.get_docstring(tree_of(name)), f"{name} has no docstring"


@every_file
def test_public_names_have_docstrings(name):
    silent = []
    for qualified, node, owner in definitions(tree_of(name)):
        if any(part.startswith("_") for part in qualified.split(".")):
            continue
        if is_protocol(owner) and len(node.body) == 1:
            continue  # a stub of a protocol says it all by its types
        if (
            owner
            and isinstance(node, ast.FunctionDef)
            and node.end_lineno - node.lineno < 4
        ):
            continue  # a short method of a class with a docstring
        if not ast.get_docstring(node):
            silent.append(qualified)
    assert not silent, f"{name}: no docstring on {', '.join(silent)}"


@every_file
def test_functions_are_at_most_60_lines(name):
    for node in functions(tree_of(name)):
        length = node.end_lineno - node.lineno + 1
        if f"{name}: {node.name}" not in LONG_FUNCTIONS:
            assert length <= 60, f"{name}: {node.name} has {length} lines"


@every_file
def test_files_are_at_most_300_lines(name):
    assert len((PACKAGE / name).read_text().splitlines()) <= 300


def test_every_exception_is_still_one():
    lengths = {
        f"{name}: {node.name}": node.end_lineno - node.lineno + 1
        for name in NAMES
        for node in functions(tree_of(name))
    }
    assert set(POSITIONAL_OPTIONS) <= set(lengths)
    assert set(FLAG_IMPORTS) <= set(NAMES)
    assert all("jax.image" in (PACKAGE / name).read_text() for name in RESIZED_MAPS)
    short = [name for name in LONG_FUNCTIONS if lengths.get(name, 0) <= 60]
    assert not short, f"no longer long, take them off the list: {short}"


@every_file
def test_options_are_keyword_only(name):
    for qualified, node, _ in definitions(tree_of(name)):
        if isinstance(node, ast.ClassDef) or f"{name}: {qualified}" in POSITIONAL_OPTIONS:
            continue
        arguments = [*node.args.posonlyargs, *node.args.args]
        arguments = [a.arg for a in arguments if a.arg not in ("self", "cls")]
        if node.name.startswith("_") and node.name != "__init__":
            continue
        assert len(arguments) <= 3, (
            f"{name}: {qualified} takes {len(arguments)} by position"
        )
        assert not node.args.defaults, f"{name}: {qualified} has an option by position"


@every_file
def test_file_is_named_for_its_subject(name):
    stem = pathlib.PurePath(name).stem
    assert stem not in ("utils", "util", "helpers", "common", "misc", "base", "core")


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@every_file
def test_nothing_imports_tensorflow(name):
    roots = {module.split(".")[0] for module in imports(tree_of(name))}
    assert not roots & {"tensorflow", "torch", "clu"}


@every_file
def test_only_the_command_line_reads_flags(name):
    here = name == "main.py" or name.startswith("command_line/")
    if not here and name not in FLAG_IMPORTS:
        flags = {"absl.flags", "absl.app", "ml_collections.config_flags"}
        assert not flags & set(imports(tree_of(name)))


@every_file
def test_nothing_unlocks_a_config(name):
    # `config.changed` copies one; `train/resolve_config.py` decides what a run has.
    assert not re.search(r"\.unlock(ed)?\(", (PACKAGE / name).read_text())


@every_file
def test_no_star_imports(name):
    assert not any(module.endswith(".*") for module in imports(tree_of(name)))


@every_file
def test_switch_is_called_train(name):
    words = {"deterministic", "is_training", "inference", "training"}
    for node in functions(tree_of(name)):
        arguments = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
        assert not arguments & words, f"{name}: {node.name} takes {arguments & words}"


@every_file
def test_random_keys_are_new_style(name):
    assert "PRNGKey" not in (PACKAGE / name).read_text()


@every_file
def test_models_resample_maps_by_the_operations_of_the_library(name):
    # The last cells of a map extend past the image, which a plain resize would shift.
    if name.startswith("models/") and name not in RESIZED_MAPS:
        text = (PACKAGE / name).read_text()
        found = re.findall(r"\bjax\.image\b|\bimport image\b", text)
        assert not found, f"{name}: {found}: use `to_stride` of ops/rescale.py"


def test_no_mark_of_unfinished_work():
    documents = [*FILES, *ROOT.glob("*.md"), *(ROOT / "configs").glob("*.py")]
    for path in documents:
        found = re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", path.read_text())
        assert not found, f"{path.relative_to(ROOT)} holds {found}"


@pytest.mark.parametrize("registry", [FUSIONS, HEADS, SUITES], ids=lambda r: r.kind)
def test_registered_name_is_the_name_of_its_file(registry):
    for name in registry.names():
        module = registry.get(name).__module__
        assert module == f"{registry.package}.{name}"


@pytest.mark.parametrize("registry", [FUSIONS, HEADS, SUITES], ids=lambda r: r.kind)
def test_every_file_of_a_registry_registers(registry):
    folder = PACKAGE.joinpath(*registry.package.split(".")[1:])
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert files == set(registry.names())


def test_test_files_have_names_of_their_own():
    # pytest imports them by file name alone.
    stems = [path.stem for path in (ROOT / "tests").rglob("*.py")]
    twice = {s for s in stems if stems.count(s) > 1} - {"conftest", "__init__"}
    assert not twice, f"two test files are called {sorted(twice)}"
