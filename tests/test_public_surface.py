"""The public names, what importing the package loads, and that async methods match their sync twins."""

import ast
import inspect
import json
import re
import subprocess
import sys

import pytest

import vision_nb as vn
from vision_nb import demo
from vision_nb.providers.base import MultiModalLLM

HEAVY = (
    "openai",
    "replicate",
    "matplotlib",
    "ipywidgets",
    "pandas",
    "numpy",
    "PIL",
    "genai_prices",
    "yaml",
    "huggingface_hub",
    "tornado.web",
    "nh3",
    "pydantic",
    "jsonschema",
)
METHODS = ("complete", "chat", "stream_complete", "stream_chat")


def modules_after(code):
    """Return the modules that a new Python process has loaded after running some code."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_import_loads_no_heavy_package():
    assert not modules_after("import vision_nb") & set(HEAVY)


def test_an_openai_model_loads_nothing_that_a_first_answer_does_not_need():
    providers = ("providers.replicate", "providers.local", "providers.llamacpp", "providers.batches", "schema.schema")
    formats = ("rendering.markdown", "rendering.html_cleaner", "images.pages", "images.frames", "images.renderer")
    modules = modules_after('import vision_nb as vn; vn.connect("openai:gpt-4o", api_key="k")')
    assert "vision_nb.providers.openai.model" in modules
    assert not [name for name in modules if name.removeprefix("vision_nb.").startswith(providers + formats)]


def test_load_ext_loads_no_heavy_package():
    bare = "from IPython.core.interactiveshell import InteractiveShell\nshell = InteractiveShell.instance()"
    before = modules_after(bare)
    after = modules_after(f"{bare}\nshell.run_line_magic('load_ext', 'vision_nb')")
    assert not (after - before) & set(HEAVY)


@pytest.mark.parametrize("name", vn.__all__)
def test_every_public_name_exists_and_has_a_docstring(name):
    value = getattr(vn, name)
    assert inspect.getdoc(value), f"{name} has no docstring"
    assert name in dir(vn)


def test_type_checkers_find_every_public_name_in_its_module():
    (block,) = [node for node in ast.parse(inspect.getsource(vn)).body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    imported = {alias.asname: node.module for node in imports for alias in node.names}
    assert imported == {**vn._MODULES, **dict.fromkeys(vn._SUBMODULES, "vision_nb")}


@pytest.mark.parametrize("module", [vn.samples, vn.compat, demo], ids=lambda module: module.__name__)
def test_completion_offers_only_the_public_names_of_a_module(module):
    assert dir(module) == sorted(module.__all__)
    assert all(value.__module__.startswith(module.__name__) for value in map(module.__dict__.get, module.__all__))


def test_completion_offers_only_the_exceptions_in_errors():
    assert {"VisionError", "ImageNotFoundError"} < set(dir(vn.errors))
    assert all(issubclass(getattr(vn.errors, name), vn.errors.VisionError) for name in dir(vn.errors))


def test_an_unknown_name_raises_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vn.nothing


def test_a_misspelled_name_raises_an_attribute_error_with_the_nearest_name():
    with pytest.raises(AttributeError, match=r"no attribute 'extrac'\. Did you mean 'extract'\?") as caught:
        _ = vn.extrac
    assert caught.value.name is None  # Python would add its own suggestion


@pytest.mark.parametrize("name", METHODS)
def test_async_methods_have_the_signatures_of_their_sync_twins(name):
    sync, twin = (inspect.signature(getattr(MultiModalLLM, prefix + name)) for prefix in ("", "a"))
    assert sync.parameters == twin.parameters
    assert inspect.iscoroutinefunction(getattr(MultiModalLLM, f"a{name}"))


def test_help_begins_with_the_common_tasks_and_their_calls_exist():
    tasks = vn.__doc__.split("\n\n")[2].splitlines()
    assert len(tasks) == 10
    for name in re.findall(r"vn\.(\w+)", "\n".join(tasks)):
        assert hasattr(vn, name)


def test_the_docstring_of_errors_draws_every_exception():
    tree = vn.errors.__doc__
    for name, kind in vars(vn.errors).items():
        if inspect.isclass(kind) and issubclass(kind, vn.errors.VisionError):
            assert name in tree
