"""The table of small models, and which of them are in the hub's cache."""

import importlib
import subprocess
import sys

import pytest

import vision_nb as vn
from tests.small_model_hub import fill_cache
from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.providers.llamacpp.models import cached_file, downloaded_models, hub_cache

PAIR = SMALL_MODELS["smolvlm-256m"]


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def test_a_model_is_downloaded_once_both_of_its_files_are_there(tmp_path):
    assert downloaded_models() == []
    fill_cache(tmp_path / "hub", PAIR.repo_id, {PAIR.text.name: b"GGUF"})
    assert downloaded_models() == []
    fill_cache(tmp_path / "hub", PAIR.repo_id, {PAIR.projector.name: b"GGUF"})
    assert downloaded_models() == [PAIR]


def test_files_of_an_earlier_commit_count_when_the_branch_has_moved_on(tmp_path):
    fill_cache(tmp_path / "hub", PAIR.repo_id, {file.name: b"GGUF" for file in PAIR.files})
    (tmp_path / "hub" / "models--ggml-org--SmolVLM-256M-Instruct-GGUF" / "refs" / "main").write_text("b" * 40)
    assert downloaded_models() == [PAIR]
    assert cached_file(PAIR.repo_id, PAIR.text.name, "main") is None
    assert cached_file(PAIR.repo_id, PAIR.text.name, "a" * 40) is not None


def test_finding_downloaded_models_does_not_import_the_hubs_client(tmp_path):
    fill_cache(tmp_path / "hub", PAIR.repo_id, {file.name: b"GGUF" for file in PAIR.files})
    code = (
        "import sys\nfrom vision_nb.providers.llamacpp.models import downloaded_models\n"
        "print([one.name for one in downloaded_models()], 'huggingface_hub' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "['smolvlm-256m'] False\n", run.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HOME": "~/elsewhere"},
        {"HF_HUB_CACHE": "$HOME/cache"},
        {"HUGGINGFACE_HUB_CACHE": "/older"},
        {"XDG_CACHE_HOME": "/xdg"},
        {"HF_HOME": "/home", "HF_HUB_CACHE": "/cache", "HUGGINGFACE_HUB_CACHE": "/older"},
    ],
)
def test_the_cache_is_where_the_hubs_client_has_it(monkeypatch, variables):
    constants = pytest.importorskip("huggingface_hub.constants")
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(hub_cache()) == importlib.reload(constants).HF_HUB_CACHE
    monkeypatch.undo()
    importlib.reload(constants)


def test_each_row_states_its_license_and_its_source():
    for model in SMALL_MODELS.values():
        assert model.source and model.license and model.memory > model.size, model.name
        assert model.license.startswith("Apache") or model.license_url.startswith("https://"), model.name
    assert SMALL_MODELS["smolvlm-256m"].size == 278_824_384


def test_each_row_has_a_token_rule():
    found = {name: vn.image_tokens((1024, 768), name).tokens for name in SMALL_MODELS}
    assert found["llava-1.5-7b"] == 576 and found["gemma-3-4b"] == 256
    assert all(found.values()), found
