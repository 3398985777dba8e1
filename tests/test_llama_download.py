"""Downloads with the real huggingface_hub from a hub on this machine."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import vision_nb as vn
from tests.secret_search import appears_in, texts_of
from tests.small_model_hub import COMMIT, Hub, running_hub
from vision_nb.cost.small_models import SMALL_MODELS, ModelFile
from vision_nb.providers.llamacpp.download import download_model
from vision_nb.providers.llamacpp.models import cached_pair

pytest.importorskip("huggingface_hub")

CHUNK = 10 * 1024 * 1024  # bytes that the hub's client writes at once
DATA = b"GGUF" + bytes(range(256)) * (CHUNK * 3 // 256)
SHA256 = hashlib.sha256(DATA).hexdigest()
SCRIPT = "import sys\nimport vision_nb as vn\nprint(vn.download_gguf(*sys.argv[1:], progress=False))"
MODEL = replace(
    SMALL_MODELS["smolvlm-256m"],
    repo_id="me/llava",
    text=ModelFile("model.gguf", len(DATA), SHA256),
    projector=ModelFile("mmproj.gguf", 8, hashlib.sha256(b"GGUFmmpr").hexdigest()),
)


@pytest.fixture(autouse=True)
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """Run a hub with one repository, and use it with an empty cache."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        hub.files = {"me/llava/model.gguf": DATA, "me/llava/mmproj.gguf": b"GGUFmmpr"}
        yield hub


def blobs(tmp_path):
    return {path.name: path.stat().st_size for path in (tmp_path / "home/hub/models--me--llava/blobs").glob("*")}


@pytest.mark.slow
def test_a_file_is_downloaded_once_and_then_nothing_is_requested(hub, tmp_path, monkeypatch):
    first = vn.download_gguf("me/llava", "model.gguf", progress=False)
    assert first.read_bytes() == DATA and first.is_relative_to(tmp_path / "home" / "hub")
    assert hub.gets() == [None]
    hub.requests.clear()
    assert vn.download_gguf("me/llava", "model.gguf") == first
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert vn.download_gguf("me/llava", "model.gguf") == first
    assert vn.download_gguf("me/llava", "model.gguf", revision="main") == first
    assert hub.requests == []


def test_the_hubs_own_client_finds_the_file_afterwards(hub):
    import huggingface_hub

    path = vn.download_gguf("me/llava", "model.gguf", progress=False)
    cache = Path(os.environ["HF_HOME"], "hub")
    assert huggingface_hub.try_to_load_from_cache("me/llava", "model.gguf", cache_dir=cache) == str(path)
    assert path.resolve().name == SHA256 and path.parent.name == COMMIT


@pytest.mark.slow
def test_a_connection_that_breaks_is_continued(hub):
    hub.cut_after = [CHUNK + 5000]
    assert vn.download_gguf("me/llava", "model.gguf", progress=False).read_bytes() == DATA
    assert hub.gets() == [None, f"bytes={CHUNK}-"]


@pytest.mark.posix
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_download_that_was_killed_or_interrupted_is_continued_by_the_next_process(hub, tmp_path, name):
    hub.cut_after, hub.pause = [CHUNK * 2], threading.Event()
    first = subprocess.Popen([sys.executable, "-c", SCRIPT, "me/llava", "model.gguf"])
    deadline = time.monotonic() + 60
    while list(blobs(tmp_path).values()) != [CHUNK * 2]:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(getattr(signal, name))
    first.wait()
    hub.pause.set()
    assert vn.download_gguf("me/llava", "model.gguf", progress=False).read_bytes() == DATA
    assert hub.gets() == [None, f"bytes={CHUNK * 2}-"]
    assert blobs(tmp_path) == {SHA256: len(DATA)}


@pytest.mark.slow
def test_two_processes_download_a_file_once(hub, tmp_path):
    hub.cut_after, hub.pause = [CHUNK], threading.Event()
    command = [sys.executable, "-c", SCRIPT, "me/llava", "model.gguf"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    deadline = time.monotonic() + 60
    while len([one for one in hub.requests if one[0] == "HEAD"]) < 2 or not hub.gets():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    hub.pause.set()
    paths = {process.communicate(timeout=60)[0].strip() for process in both}
    assert len(paths) == 1 and Path(paths.pop()).read_bytes() == DATA
    assert hub.gets() == [None, f"bytes={CHUNK}-"]


def test_a_file_with_the_wrong_hash_is_removed(hub, tmp_path):
    hub.hashes = {"me/llava/model.gguf": "0" * 64}
    with pytest.raises(vn.errors.ModelFileError, match=r"damaged during the download .* was removed"):
        vn.download_gguf("me/llava", "model.gguf", progress=False)
    assert blobs(tmp_path) == {}
    hub.hashes.clear()
    assert vn.download_gguf("me/llava", "model.gguf", progress=False).read_bytes() == DATA


def test_a_partial_file_that_is_too_large_is_downloaded_again(hub, tmp_path):
    folder = tmp_path / "home/hub/models--me--llava/blobs"
    folder.mkdir(parents=True)
    (folder / f"{SHA256}.vision-nb.incomplete").write_bytes(DATA + b"more")
    assert vn.download_gguf("me/llava", "model.gguf", progress=False).read_bytes() == DATA
    assert hub.gets() == [None]


@pytest.mark.parametrize("etag", ["../../../../outside", "..", "a/b", "C:outside", "a\\b"])
def test_a_hub_cannot_choose_where_a_file_is_written(hub, tmp_path, etag):
    hub.hashes = {"me/llava/model.gguf": etag}
    before = set(tmp_path.rglob("*"))
    with pytest.raises(vn.errors.ModelFileError, match="has no usable hash"):
        vn.download_gguf("me/llava", "model.gguf", progress=False)
    assert set(tmp_path.rglob("*")) == before and not hub.gets()


def test_a_file_of_the_wrong_size_is_an_error(hub, tmp_path):
    hub.sizes = {"me/llava/mmproj.gguf": 9}
    with pytest.raises(vn.errors.ModelFileError, match="should be of size 9 but has size 8"):
        vn.download_gguf("me/llava", "mmproj.gguf", progress=False)
    assert SHA256 not in blobs(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"hashes": {"me/llava/model.gguf": "1" * 64}},
            "is not the file that vision_nb knows: its sha256 begins with 1",
        ),
        ({"hashes": {"me/llava/model.gguf": "not-a-sha256"}}, "does not state the size and sha256"),
    ],
)
def test_a_model_of_the_table_is_only_downloaded_if_the_hub_has_the_same_files(hub, change, words):
    for name, value in change.items():
        setattr(hub, name, value)
    with pytest.raises(vn.errors.ModelFileError, match=words):
        download_model(MODEL, progress=False)
    assert hub.gets() == []


def test_a_model_of_unknown_hash_must_have_about_the_known_size(hub):
    model = replace(MODEL, text=ModelFile("model.gguf", len(DATA) * 2))
    with pytest.raises(vn.errors.ModelFileError, match=r"has 31\.5 MB, not about 62\.9 MB"):
        download_model(model, progress=False)
    assert hub.gets() == []


def test_both_files_of_a_model_are_downloaded_and_only_what_is_missing(hub):
    vn.download_gguf("me/llava", "mmproj.gguf", progress=False)
    hub.requests.clear()
    paths = download_model(MODEL, progress=False)
    assert [path.name for path in paths] == ["model.gguf", "mmproj.gguf"] and cached_pair(MODEL) == paths
    assert len(hub.gets("model.gguf")) == 1 and hub.gets("mmproj.gguf") == []
    hub.requests.clear()
    assert download_model(MODEL) == paths and hub.requests == []


def test_a_file_too_large_for_the_disk_is_not_downloaded(hub):
    hub.sizes = {"me/llava/model.gguf": 10**18}
    with pytest.raises(vn.errors.ModelFileError, match=r"1000000000.0 GB to download, but the disk of .* has only"):
        vn.download_gguf("me/llava", "model.gguf", progress=False)
    assert hub.gets() == []


@pytest.mark.posix
@pytest.mark.slow
def test_a_disk_that_fills_up_is_an_error_and_the_rest_follows_later(hub, tmp_path):
    limited = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({CHUNK + 4096}, resource.RLIM_INFINITY))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", limited + SCRIPT, "me/llava", "model.gguf"], capture_output=True, text=True
    )
    assert "ModelFileError: model.gguf of me/llava could not be written" in run.stderr
    assert "File too large" in run.stderr and "the download continues where it stopped" in run.stderr
    assert vn.download_gguf("me/llava", "model.gguf", progress=False).read_bytes() == DATA
    assert hub.gets()[1].startswith("bytes=")


@pytest.mark.parametrize("names", [("me/llava", "nothing.gguf"), ("nobody/nothing", "model.gguf")])
def test_a_missing_file_or_repository_is_a_model_file_not_found_error(hub, names):
    with pytest.raises(vn.errors.ModelFileNotFoundError, match="HF_TOKEN"):
        vn.download_gguf(*names, progress=False)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            (403, "GatedRepo", "Access is restricted"),
            "after you accept its license at http://.*/me/llava. Then set HF_TOKEN",
        ),
        (
            (401, "", "Invalid credentials in Authorization header"),
            "The model hub refuses model.gguf .* check HF_TOKEN",
        ),
        ((403, "", "Forbidden"), "The model hub refuses model.gguf"),
        ((500, "", "Internal error"), "could not be downloaded .*Check the network"),
    ],
)
def test_a_refusal_says_what_to_do(hub, refusal, words):
    hub.refusals = {"me/llava": refusal}
    with pytest.raises(vn.errors.ModelFileError, match=words):
        vn.download_gguf("me/llava", "model.gguf", progress=False)


def test_an_unreachable_hub_an_invalid_name_and_offline_mode_are_errors_of_their_own(monkeypatch):
    with pytest.raises(vn.errors.SettingsError, match="use owner/name"):
        vn.download_gguf("a/b/c/d", "model.gguf")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(vn.errors.ModelFileError, match="Check the network"):
        vn.download_gguf("me/llava", "model.gguf", progress=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(vn.errors.ModelFileError, match="HF_HUB_OFFLINE is set"):
        vn.download_gguf("me/llava", "model.gguf", progress=False)


@pytest.mark.parametrize(
    "refusal", [None, (401, "", "Invalid credentials hf_c4n4ry7f3a9b2e"), (403, "GatedRepo", "no")]
)
def test_the_token_is_sent_to_the_hub_only_and_is_in_no_error(hub, monkeypatch, refusal):
    monkeypatch.setenv("HF_TOKEN", "hf_c4n4ry7f3a9b2e")
    if refusal is None:
        vn.download_gguf("me/llava", "mmproj.gguf", progress=False)
        tokens = {path.split("/")[1]: token for _, path, _, token in hub.requests}
        assert tokens == {"me": "Bearer hf_c4n4ry7f3a9b2e", "storage": None}
        return
    hub.refusals = {"me/llava": refusal}
    with pytest.raises(vn.errors.ModelFileError) as caught:
        vn.download_gguf("me/llava", "mmproj.gguf", progress=False)
    assert not any(appears_in(text) for text in texts_of(caught.value))


@pytest.mark.slow
def test_a_failed_download_does_not_show_the_signed_address_of_the_file(hub):
    hub.files["me/llava/gone.gguf"] = DATA
    hub.cut_after = [0] * 20
    with pytest.raises(vn.errors.ModelFileError) as caught:
        vn.download_gguf("me/llava", "gone.gguf", progress=False)
    assert not any("s1gnedAddress" in text for text in texts_of(caught.value))
