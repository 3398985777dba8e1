"""The workflow on GitHub runs what a developer runs, and may do no more than read."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
WORKFLOW = yaml.safe_load(TEXT)


def test_it_runs_the_script_for_pushes_and_pull_requests():
    assert set(WORKFLOW[True]) == {"push", "pull_request"}  # YAML reads a bare `on` as true
    commands = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert all((ROOT / command).stat().st_mode & 0o111 for command in commands)


def test_it_may_only_read_and_keeps_no_credentials():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in WORKFLOW["jobs"].values())
    assert "pull_request_target" not in TEXT and "secrets." not in TEXT
    checkouts = [
        step for job in WORKFLOW["jobs"].values() for step in job["steps"] if "actions/checkout" in step.get("uses", "")
    ]
    assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_every_action_is_github_s_own_and_of_a_named_major_version():
    used = [step["uses"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@v\d+", name) for name in used)
    assert all(job["timeout-minutes"] <= 60 for job in WORKFLOW["jobs"].values())
