"""What `vision_nb` offers, what importing it costs, and that its twins are twins."""

import inspect
import json
import subprocess
import sys

import pytest

import vision_nb as vn
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
)
METHODS = ("complete", "chat", "stream_complete", "stream_chat")


def modules_after(code):
    """The modules that a fresh Python has loaded after running some code."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_loads_nothing_heavy():
    assert not modules_after("import vision_nb") & set(HEAVY)


def test_load_ext_loads_nothing_heavy():
    bare = "from IPython.core.interactiveshell import InteractiveShell\nshell = InteractiveShell.instance()"
    before = modules_after(bare)
    after = modules_after(f"{bare}\nshell.run_line_magic('load_ext', 'vision_nb')")
    assert not (after - before) & set(HEAVY)


@pytest.mark.parametrize("name", vn.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(vn, name)
    assert inspect.getdoc(value), f"{name} has no docstring"
    assert name in dir(vn)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vn.nothing


@pytest.mark.parametrize("name", METHODS)
def test_the_twins_have_the_same_signature(name):
    sync, twin = (inspect.signature(getattr(MultiModalLLM, prefix + name)) for prefix in ("", "a"))
    assert sync.parameters == twin.parameters
    assert inspect.iscoroutinefunction(getattr(MultiModalLLM, f"a{name}"))


def test_every_error_of_ours_stands_in_the_tree():
    tree = vn.errors.__doc__
    for name, kind in vars(vn.errors).items():
        if inspect.isclass(kind) and issubclass(kind, vn.errors.VisionError):
            assert name in tree
