"""A model hub on this machine, and its cache as huggingface_hub lays it out."""

COMMIT = "a" * 40


def fill_cache(cache, repo_id, files, commit=COMMIT):
    """Put files into the hub's cache as a download would."""
    folder = cache / f"models--{repo_id.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (snapshot / name).write_bytes(data)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
