"""`cluster=`: comparisons whose calls are made by the workers of a Dask cluster, here of two processes."""

import asyncio
import collections
import dataclasses
import functools
import os
import subprocess
import sys
import threading
import time
from decimal import Decimal
from typing import Any, Literal

import httpx
import pytest
from distributed import Client, LocalCluster
from PIL import Image
from pydantic import BaseModel

import vision_nb as vn
from tests.conftest import _HIDDEN, _KEYS, closed_port, encoded, picture
from tests.forms import interrupted_when, until
from tests.s3_server import S3Server
from tests.virtual_minutes import RecordedWindow
from vision_nb import errors
from vision_nb.comparison import cluster as cluster_calls
from vision_nb.comparison import cluster_connection, cluster_session, cluster_worker
from vision_nb.comparison.grid import make_grid
from vision_nb.demo import Fault
from vision_nb.store import Store

pytestmark = [
    pytest.mark.slow,  # starting a cluster takes seconds
    pytest.mark.filterwarnings("ignore:Creating scratch directories:UserWarning"),  # a busy disk
]

KEY = "sk-cluster-0123456789abcdefghij"
COMPARED = "key response error input_tokens output_tokens usd attempts finish_reason parsed is_demo model".split()


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(_HIDDEN) or name in _KEYS:
                patch.delenv(name)
        with LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0"
        ) as running:
            yield running


@pytest.fixture(scope="module")
def shared_client(cluster):
    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(shared_client):
    shared_client.wait_for_workers(2, timeout=120)
    return shared_client


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number:02}.jpg").write_bytes(encoded(picture(320, 240, seed=number), "JPEG"))
    return folder


def model(server, name="gpt-4o", **options):
    return vn.OpenAIMultiModal(name, **{"api_key": KEY, "api_base": server.openai_base, **options})


def compare(*what, **options):
    return vn.compare(*what, **{"progress": False, **options})


def with_position(image):
    """Return a JPEG file that says where it was taken and that it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010F] = "Secret camera"
    return encoded(image, "JPEG", exif=exif, quality=95)


def test_all_answers_equal_those_of_a_run_without_a_cluster(server, client, images, tmp_path):
    sources = [
        images,
        picture(100, 80, seed=30),
        encoded(picture(90, 70, seed=31)),
        with_position(picture(120, 60, seed=32)),
        vn.samples.path("chart"),
    ]
    questions = ["How large is it, and which colors does it have?"]
    models = [model(server), model(server, "gpt-4o-mini", max_new_tokens=40)]
    store = tmp_path / "cluster.sqlite3"
    on_cluster = compare(models, questions, sources, store=store, cluster=client)
    asked = len(server.requests)
    here = compare(models, questions, sources, store=tmp_path / "here.sqlite3")
    assert asked == len(on_cluster) == len(here) == 20 and not on_cluster.errors
    for one, other in zip(on_cluster, here, strict=True):
        assert {name: getattr(one, name) for name in COMPARED} == {name: getattr(other, name) for name in COMPARED}
    again = compare(models, questions, sources, store=store)
    assert all(row.from_store for row in again) and len(server.requests) == 2 * asked
    repeated = compare(models, questions, sources, store=store, cluster=client)
    assert all(row.from_store for row in repeated) and len(server.requests) == 2 * asked


def test_this_process_neither_reads_nor_decodes_the_files(server, client, images, tmp_path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("an image was read in the notebook's process")

    monkeypatch.setattr("vision_nb.images.content.FileContent.read", refuse)
    monkeypatch.setattr("vision_nb.images.document.prepare", refuse)
    comparison = compare(model(server), "How large is it?", images, store=tmp_path / "a", cluster=client)
    assert len(comparison) == 6 and not comparison.errors


@pytest.mark.parametrize("is_async", [False, True], ids=["compare", "acompare"])
async def test_a_dry_run_reads_the_images_on_the_workers(server, client, images, tmp_path, monkeypatch, is_async):
    def refuse(*_arguments, **_options):
        raise AssertionError("an image was read in the notebook's process")

    sources = [images, tmp_path / "no.jpg", encoded(picture(90, 70, seed=31)), encoded(picture())[:-200]]
    here = vn.compare(model(server), "How?", sources, store=tmp_path / "a", dry_run=True)
    monkeypatch.setattr("vision_nb.images.content.FileContent.read", refuse)
    monkeypatch.setattr("vision_nb.images.content.FileContent.header", refuse)
    options: dict[str, Any] = {"store": tmp_path / "b", "cluster": client, "dry_run": True}
    if is_async:
        there = await vn.acompare(model(server), "How?", sources, **options)
    else:
        there = await asyncio.to_thread(lambda: vn.compare(model(server), "How?", sources, **options))
    assert there == here and there.calls == 7 and there.models[0].unreadable == 2 and not server.requests


@pytest.mark.parametrize("form", ["address", "cluster"])
async def test_a_cluster_can_be_named_by_its_address_or_object(server, cluster, client, images, tmp_path, form):
    where = cluster if form == "cluster" else cluster.scheduler_address
    comparison = await vn.acompare(
        model(server), "How large is it?", images, store=tmp_path / "a", cluster=where, progress=False
    )
    assert not comparison.errors and len(server.requests) == 6


async def test_an_asynchronous_client_works_on_its_own_event_loop(server, cluster, client, images, tmp_path):
    async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as own:
        comparison = await vn.acompare(
            model(server), "How large is it?", images, store=tmp_path / "a", cluster=own, progress=False
        )
        assert not comparison.errors and len(server.requests) == 6
        with pytest.raises(errors.SettingsError, match="acompare"):
            await asyncio.to_thread(compare, model(server), "How?", images, store=tmp_path / "b", cluster=own)


def test_the_demo_model_answers_on_the_workers(client, tmp_path):
    comparison = compare("demo", "How large is it?", vn.samples.path("chart"), store=tmp_path / "a", cluster=client)
    assert "1,000 x 600" in comparison[0].response and comparison[0].is_demo


class Size(BaseModel):
    width: int
    height: int


def test_extract_reads_values_and_repairs_them_on_the_workers(server, client, images, tmp_path):
    @dataclasses.dataclass
    class Local:  # the workers cannot import it
        height: int
        kind: Literal["photo", "drawing"] | None

    server.fail(Fault(text="not JSON"), times=3)
    sizes = vn.extract(images, Size, model=model(server), store=tmp_path / "a", cluster=client, progress=False)
    assert [one.parsed for one in sizes] == [Size(width=320, height=240)] * 6 and not sizes.failed
    assert sum(one.attempts for one in sizes) == len(server.requests) == 9
    assert len(vn.ledger.entries) == 9
    assert sum(one.usd for one in sizes) == sum(entry.usd for entry in vn.ledger.entries)
    others = vn.extract(images, Local, model=model(server), store=tmp_path / "a", cluster=client, progress=False)
    assert all(type(one.parsed) is Local and one.parsed.height == 240 for one in others)


def test_an_answer_that_never_fits_the_schema_is_an_error_with_its_cost(server, client, tmp_path):
    server.fail(Fault(text="not JSON"), times=2)
    chart = vn.samples.path("chart")
    found = vn.extract(chart, Size, model=model(server), store=tmp_path / "a", cluster=client, progress=False)
    assert found[0].error.startswith("SchemaError") and found[0].attempts == 2 and found[0].usd > 0
    assert found.retry(progress=False)[0].parsed == Size(width=1000, height=600)


def test_a_file_that_a_worker_cannot_read_is_an_error_that_names_both(server, client, tmp_path):
    comparison = compare(model(server), "How?", tmp_path / "no.jpg", store=tmp_path / "a", cluster=client)
    assert comparison[0].error.startswith("ImageNotFoundError: The worker tcp://127.0.0.1:")
    assert str(tmp_path / "no.jpg") in comparison[0].error and "s3://" in comparison[0].error


@pytest.mark.parametrize("is_first", [False, True])
def test_an_image_that_changes_before_it_is_sent_is_not_asked_about(server, client, tmp_path, is_first):
    first, changed, equal, pages = (tmp_path / name for name in ("1.png", "2.png", "3.png", "4.tiff"))
    for seed, file in enumerate((first, changed)):
        picture(40, 30, seed=seed).save(file)
    before = changed.read_bytes()
    equal.write_bytes(before)
    picture(40, 30, seed=2).save(pages, save_all=True, append_images=[picture(40, 30, seed=3)])

    def change(question):
        if len(server.requests) == 1:
            os.utime(equal)  # which is the same image
            picture(50, 20).save(changed)
            picture(50, 20).save(pages, save_all=True, append_images=[picture(50, 20)])
        return "x".join(map(str, question.images[0].size))

    server.answer_with(change)
    options = {"store": tmp_path / "a", "concurrency": 1}
    images = vn.load_images(first, *((changed, equal) if is_first else (equal, changed)), pages)
    comparison = compare(model(server), "What?", images, cluster=client, **options)
    assert [row.response for row in comparison] == ["40x30", None if is_first else "40x30", "40x30", None, None]
    assert all("ImageChangedError" in row.error for row in comparison.errors)
    assert len(server.requests) == 2
    again = compare(model(server), "What?", [changed, equal], cluster=client, **options)
    assert [row.response for row in again] == ["50x20", "40x30"] and len(server.requests) == 3
    changed.write_bytes(before)
    assert compare(model(server), "What?", changed, **options)[0].from_store


def test_images_in_an_object_store_are_read_on_the_workers(server, client, tmp_path):
    bucket = S3Server({f"{number}.png": encoded(picture(80, 60, seed=number)) for number in range(4)})
    options = {"key": "bucket-user-1", "secret": "bucket-secret-456789", "endpoint_url": bucket.url}
    try:
        documents = vn.load_images("s3://photos/*.png", storage_options=options)
        listed = len(bucket.requests)
        comparison = compare(model(server), "How large is it?", documents, store=tmp_path / "a", cluster=client)
        assert not comparison.errors and len(bucket.requests) > listed
        assert all(document.needs_download for document in documents)
    finally:
        bucket.close()


def scheduler_state(dask_scheduler):
    """What the scheduler knows about tasks, as text: specifications, transitions and events."""
    from distributed.protocol.serialize import Serialized, ToPickle

    specifications = [task.run_spec for task in dask_scheduler.tasks.values()]
    data = [bytes(frame) for one in specifications if isinstance(one, Serialized) for frame in one.frames]
    plain = [one.data if isinstance(one, ToPickle) else one for one in specifications]
    events = dask_scheduler.get_events()
    plugins = (dask_scheduler.worker_plugins, dask_scheduler.nanny_plugins, dask_scheduler.plugins)
    return repr((data, plain, events, plugins, list(dask_scheduler.transition_log), dask_scheduler.get_logs()))


def worker_state(dask_worker):
    """What a worker knows about tasks, as text: specifications, transitions and logs."""
    specifications = [task.run_spec for task in dask_worker.state.tasks.values()]
    return repr((specifications, list(dask_worker.state.log), dask_worker.get_logs(), dask_worker.plugins))


@pytest.fixture
def waiting(server):
    """Hold all answers of the server back until the test ends."""
    may_answer = threading.Event()

    def wait(question):
        may_answer.wait(120)
        return f"an answer to {question.prompt}"

    server.answer_with(wait)
    yield may_answer
    may_answer.set()


async def test_keys_and_secrets_are_in_no_task_log_event_or_page(server, cluster, client, images, tmp_path, waiting):
    bucket = S3Server({"a.png": encoded(picture(80, 60))})
    options = {"key": "bucket-user-1", "secret": "bucket-secret-456789", "endpoint_url": bucket.url}
    signed = f"{bucket.url}/photos/a.png?X-Amz-Signature=0123456789signature"
    llm = model(server, default_headers={"X-Team": "header-secret-123456"}, inline_urls=True)
    sources = [images / "00.jpg", *vn.load_images("s3://photos/*.png", storage_options=options), signed]
    secrets = [KEY, "header-secret-123456", "bucket-secret-456789", "0123456789signature"]
    client.get_task_stream()  # from now on
    running = asyncio.create_task(
        vn.acompare(llm, "Seen?", sources, store=tmp_path / "a", cluster=client, progress=False)
    )
    await until(lambda: len(server.requests) >= 2, running)
    tasks = await asyncio.to_thread(lambda: list(client.run_on_scheduler(keys_of_tasks)))
    assert len([task for task in tasks if "answer" in task]) >= 2
    texts = [repr((client.scheduler_info(), client.story(*tasks), client.processing(), client.call_stack(keys=tasks)))]
    texts += [client.run_on_scheduler(scheduler_state), *client.run(worker_state).values()]
    port = client.scheduler_info()["services"]["dashboard"]
    for page in ("info/main/workers.html", *(f"info/task/{task}.html" for task in tasks), "sitemap.json"):
        texts.append(httpx.get(f"http://127.0.0.1:{port}/{page}").text)
    assert "vision_nb-answer" in "".join(texts)
    waiting.set()
    comparison = await running
    bucket.close()
    assert comparison.errors == [] or all("private" in row.error for row in comparison.errors)
    texts += [
        repr((client.get_task_stream(), client.get_events())),
        repr(client.get_worker_logs()),
        repr(client.get_scheduler_logs()),
    ]
    for request in server.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["x-team"] == "header-secret-123456"
    for secret in secrets:
        assert not [text for text in texts if secret in text]


def keys_of_tasks(dask_scheduler):
    return [str(key) for key in dask_scheduler.tasks]


def answers_in_events(dask_scheduler):
    return sum("messages" in repr(event) for events in dask_scheduler.get_events().values() for event in events)


async def test_the_scheduler_does_not_keep_the_answers_in_its_events(server, client, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_calls, "_MOST_EVENTS", 5)
    kept = []
    server.answer_with(lambda question: kept.append(client.run_on_scheduler(answers_in_events)) or "an answer")
    pictures = [encoded(picture(60, 40, seed=number)) for number in range(60)]
    comparison = await vn.acompare(
        model(server), "How?", pictures, store=tmp_path / "a", cluster=client, progress=False, concurrency=2
    )
    assert not comparison.errors and 0 < max(kept) < 30
    assert client.run_on_scheduler(answers_in_events) == 0


def set_key(value):
    os.environ.update({"OPENAI_API_KEY": value} if value else {})
    if not value:
        os.environ.pop("OPENAI_API_KEY", None)


@pytest.fixture
def with_own_key(client):
    """Return a client whose workers have a key in their environment."""
    client.run(set_key, "sk-of-the-worker-0123456789")
    yield client
    client.run(set_key, None)


def keys_sent(server):
    return {request.headers["authorization"].removeprefix("Bearer ") for request in server.requests}


def test_a_key_in_the_workers_environment_takes_precedence(server, with_own_key, images, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    llm = model(server, api_key=None)
    comparison = compare(llm, "How large is it?", images, store=tmp_path / "a", cluster=with_own_key)
    assert not comparison.errors and keys_sent(server) == {"sk-of-the-worker-0123456789"}


def test_a_key_that_was_passed_is_not_replaced_by_a_workers_own(server, with_own_key, images, tmp_path):
    comparison = compare(model(server), "How large is it?", images, store=tmp_path / "a", cluster=with_own_key)
    assert not comparison.errors and keys_sent(server) == {KEY}


def test_a_key_from_the_environment_is_sent_to_workers_without_one(server, client, images, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    comparison = compare(model(server, api_key=None), "How?", images, store=tmp_path / "a", cluster=client)
    assert not comparison.errors and keys_sent(server) == {KEY}


def test_a_key_that_the_server_refuses_is_an_error_without_the_key(server, client, tmp_path):
    server.fail(Fault(status=401, body={"error": {"message": f"Incorrect API key provided: {KEY}"}}))
    chart = vn.samples.path("chart")
    comparison = compare(model(server), "How large is it?", chart, store=tmp_path / "a", cluster=client)
    assert comparison[0].error.startswith("AuthenticationError") and KEY not in comparison[0].error


def sessions():
    """How many runs this worker knows."""

    return len(cluster_worker._sessions)


def number_of_tasks(dask_scheduler):
    return len(dask_scheduler.tasks)


async def test_nothing_piles_up_on_the_cluster_and_nothing_remains(server, client, tmp_path):
    sizes = []
    server.answer_with(lambda question: sizes.append(client.run_on_scheduler(number_of_tasks)) or "an answer")
    pictures = [encoded(picture(60, 40, seed=number)) for number in range(60)]
    comparison = await vn.acompare(
        model(server), "How?", pictures, store=tmp_path / "a", cluster=client, progress=False, concurrency=4
    )
    assert not comparison.errors and len(sizes) == 60
    assert max(sizes) < 30  # calls in progress, and results that are being released
    await until(lambda: client.run_on_scheduler(number_of_tasks) == 0)
    await until(lambda: set(client.run(sessions).values()) == {0})


async def ask_together(server, client, folder):
    """Ask about the images in a folder at the same moment, so that the questions to a worker are in one task."""
    grid = make_grid(model(server), "How?", folder)
    calls = cluster_calls.ClusterCalls(client, grid, Store(folder / "a.sqlite3"))
    async with calls.running():
        asked = (calls.ask(0, "How?", document) for document in grid.documents)
        return await asyncio.gather(*asked, return_exceptions=True)


def calls_in_progress():
    return sum(len(session._calls) for session in cluster_worker._sessions.values())


async def test_questions_of_the_same_moment_are_one_task_for_each_worker(server, client, images, waiting):
    (images / "05.jpg").write_bytes(encoded(picture(320, 240), "JPEG")[:-200])
    running = asyncio.create_task(ask_together(server, client, images))
    await until(lambda: len(server.requests) == 5, running)
    assert client.run_on_scheduler(number_of_tasks) == 2
    assert sorted(client.run(calls_in_progress).values()) == [2, 3]
    waiting.set()
    *answers, failed = await running
    assert [answer.text for answer in answers] == 5 * ["an answer to How?"]
    assert isinstance(failed, errors.ImageError)


@pytest.mark.posix
def test_an_interrupt_cancels_the_calls_on_the_workers(server, client, images, tmp_path, waiting):
    with interrupted_when(lambda: len(server.requests) >= 4):
        comparison = compare(model(server), "How?", images, store=tmp_path / "a", cluster=client, concurrency=4)
    assert "interrupted" in comparison.incomplete and not any(row.finished for row in comparison)
    asyncio.run(until(lambda: client.run_on_scheduler(number_of_tasks) == 0))
    asyncio.run(until(lambda: has_no_session(client)))
    assert len(server.requests) == 4 == len(vn.ledger.entries)
    waiting.set()
    again = compare(model(server), "How?", images, store=tmp_path / "a", cluster=client)
    assert not again.errors and not again.incomplete


def has_no_session(client):
    """Return whether the workers have no run's models, threads or event loops."""
    return set(client.run(sessions).values()) == {0} and "vision_nb calls" not in repr(client.run(threads))


def threads():
    return [thread.name for thread in threading.enumerate()]


DRIVER = """
import sys
import vision_nb as vn
llm = vn.OpenAIMultiModal("gpt-4o", "k", sys.argv[1])
vn.compare(llm, "How?", sys.argv[2], store=sys.argv[3], cluster=sys.argv[4], progress=False)
"""


def set_idle_seconds(seconds):
    cluster_session._IDLE_SECONDS = seconds


async def test_a_killed_notebook_leaves_no_calls_and_no_models_on_the_workers(
    server, client, cluster, images, tmp_path, waiting
):
    seconds = cluster_session._IDLE_SECONDS
    client.run(set_idle_seconds, 1.0)
    try:
        arguments = [server.openai_base, str(images), str(tmp_path / "a"), cluster.scheduler_address]
        notebook = subprocess.Popen([sys.executable, "-c", DRIVER, *arguments])
        await until(lambda: len(server.requests) == 6)
        assert not has_no_session(client)
        notebook.kill()
        notebook.wait(60)
        await until(lambda: client.run_on_scheduler(number_of_tasks) == 0)
        await until(lambda: has_no_session(client))
    finally:
        client.run(set_idle_seconds, seconds)


def close(client):
    client.close()


def disconnect(client):
    """Break the connection to the scheduler; Dask's client then connects again."""
    client.loop.add_callback(client.scheduler_comm.comm.abort)


def slow_down():
    """Let this worker's messages take a while, as on a slow network; results come in time, as Dask's own do."""
    session: Any = cluster_session.Session
    session.real_tell = session.tell

    def tell_later(self, kind, *arguments):
        tell = functools.partial(session.real_tell, self, kind, *arguments)
        if kind == "result":
            tell()
        else:
            self._worker.loop.add_callback(self._worker.loop.call_later, 0.3, tell)

    session.tell = tell_later


def stop_slowing():
    session: Any = cluster_session.Session
    session.tell = session.real_tell
    del session.real_tell


@pytest.mark.parametrize("lose", [close, disconnect])
async def test_a_lost_connection_ends_the_run_and_keeps_the_rows_so_far(
    server, cluster, client, images, tmp_path, lose
):
    may_answer, answered = threading.Event(), []

    def answer(question):
        answered.append(question)
        if len(answered) > 2:
            may_answer.wait(120)
        return "an answer"

    server.answer_with(answer)
    own = Client(cluster.scheduler_address, set_as_default=False)
    client.run(slow_down)
    try:
        running = asyncio.create_task(
            vn.acompare(model(server), "How?", images, store=tmp_path / "a", cluster=own, concurrency=2, progress=False)
        )
        await until(lambda: len(server.requests) == 4, running)
        await asyncio.to_thread(lose, own)
        await until(running.done)
    finally:
        may_answer.set()
        await asyncio.to_thread(own.close)
        client.run(stop_slowing)
    comparison = running.result()
    assert comparison.incomplete.startswith("The connection to the Dask cluster was lost")
    assert sum(row.finished for row in comparison) == 2 and not comparison.errors
    assert len(vn.ledger.entries) == len(server.requests) == 4
    again = await vn.acompare(model(server), "How?", images, store=tmp_path / "a", cluster=client, progress=False)
    assert sum(row.from_store for row in again) == 2 and not again.errors and not again.incomplete


def hold_reading(path):
    """Let this worker read no image until a file exists."""
    read: Any = cluster_worker._version

    def wait(*arguments):
        while not path.exists():
            time.sleep(0.01)
        return read(*arguments)

    cluster_worker._version, cluster_worker.__dict__["real_version"] = wait, read


def stop_holding():
    cluster_worker._version = cluster_worker.__dict__.pop("real_version")


async def test_a_connection_that_is_lost_while_images_are_read_ends_the_run(server, cluster, client, images, tmp_path):
    own = Client(cluster.scheduler_address, set_as_default=False)
    client.run(hold_reading, tmp_path / "read")
    try:
        running = asyncio.create_task(
            vn.acompare(model(server), "How?", images, store=tmp_path / "a", cluster=own, progress=False)
        )
        await until(lambda: client.run_on_scheduler(number_of_tasks) > 0, running)
        await asyncio.to_thread(own.close)
        await until(running.done)
    finally:
        (tmp_path / "read").touch()
        client.run(stop_holding)
    comparison = running.result()
    assert comparison.incomplete.startswith("The connection to the Dask cluster was lost")
    assert not comparison.errors and not server.requests


def lose_first_reply():
    take: Any = cluster_worker.receive
    lost = []

    def receive(run, replies):
        if not lost:
            lost.append(replies)
            raise OSError("the reply was lost")
        take(run, replies)

    cluster_worker.receive, cluster_worker.__dict__["real_receive"] = receive, take


def stop_losing():
    cluster_worker.receive = cluster_worker.__dict__.pop("real_receive")


async def test_a_reply_that_does_not_arrive_is_sent_again(server, client, images, tmp_path):
    client.run(lose_first_reply)
    try:
        running = asyncio.create_task(
            vn.acompare(model(server), "How?", images, store=tmp_path / "a", cluster=client, progress=False)
        )
        await until(running.done)
    finally:
        client.run(stop_losing)
    assert not running.result().errors and len(server.requests) == 6


def fail_with(error, cause):
    def fail(_run):
        raise error from cause

    vars(cluster_worker).update(real_session=cluster_worker._session, _session=fail)


def stop_failing():
    cluster_worker._session = cluster_worker.__dict__.pop("real_session")


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (None, "A worker failed (RuntimeError: Dask's words): run the cell again"),
        (ImportError("No module 'x'"), "cannot load vision_nb (ImportError: No module 'x'): install the same version"),
    ],
)
def test_a_task_that_fails_is_an_error_with_its_cause(server, client, images, tmp_path, cause, said):
    client.run(fail_with, RuntimeError("Dask's words"), cause)
    try:
        comparison = compare(model(server), "How?", images, store=tmp_path / "a", cluster=client)
    finally:
        client.run(stop_failing)
    assert all(said in row.error for row in comparison) and not server.requests


class Unloadable:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return fail, (self.error,)


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'shop'"), "No module named 'shop'): install the modules that they need"),
        (AttributeError("module 'shop' has no 'Item'"), "has no 'Item'): use the notebook's package versions"),
    ],
)
def test_models_that_a_worker_cannot_load_are_an_error_with_advice(server, client, images, tmp_path, error, said):
    llm = model(server)
    vars(llm)["setting"] = Unloadable(error)
    comparison = compare(llm, "How?", images, store=tmp_path / "a", cluster=client)
    assert all(said in row.error for row in comparison) and not server.requests


@pytest.mark.parametrize("budget", [None, 1], ids=["no limits", "budget"])
def test_workers_ask_before_each_request(server, client, images, tmp_path, monkeypatch, budget):
    replied = []
    reply = cluster_calls.ClusterCalls._reply
    monkeypatch.setattr(
        cluster_calls.ClusterCalls,
        "_reply",
        lambda self, message, said: (replied.append(message.kind), reply(self, message, said)),
    )
    comparison = compare(model(server), "How?", images, store=tmp_path / "a", cluster=client, budget=budget)
    assert not comparison.errors
    assert replied.count("reserve") == 6 and {*replied} <= {"setup", "reserve"}


@pytest.mark.parametrize("budget", [None, 1], ids=["no limits", "budget"])
async def test_an_unexpected_error_in_the_notebook_is_a_row_with_the_error(
    server, client, images, tmp_path, monkeypatch, budget
):
    def fail(*_arguments, **_options):
        raise ZeroDivisionError("the price")

    monkeypatch.setattr("vision_nb.comparison.cluster.CallAccounting", fail)
    running = asyncio.create_task(
        vn.acompare(model(server), "How?", images, store=tmp_path / "a", cluster=client, progress=False, budget=budget)
    )
    await until(running.done)
    assert {row.error for row in running.result()} == {
        "ClusterError: The call could not be made (ZeroDivisionError: the price)."
    }
    assert not server.requests


async def test_the_rate_limit_holds_across_workers_retries_included(server, client, images, tmp_path, monkeypatch):
    window = RecordedWindow(monkeypatch)
    server.fail(Fault(status=500), times=2)
    limits = vn.RateLimit(requests_per_minute=3)
    running = asyncio.create_task(
        vn.acompare(
            model(server),
            "How?",
            images,
            store=tmp_path / "a",
            cluster=client,
            progress=False,
            rate_limits=limits,
        )
    )
    while not running.done():
        await until(
            lambda: running.done() or (window.now in window.refused and len(server.requests) == len(window.admitted))
        )
        window.now += 61.0
    comparison = await running
    assert not comparison.errors and len(server.requests) == len(window.admitted) == 8
    assert max(collections.Counter(window.admitted).values()) == 3


def test_a_rate_limit_error_pauses_the_model_and_its_call_is_repeated(server, client, images, tmp_path):
    server.fail(Fault(status=429, retry_after=0.05), times=5)
    comparison = compare(model(server), "How large is it?", images, store=tmp_path / "a", cluster=client)
    assert not comparison.errors and len(server.requests) == 11


def test_an_exhausted_quota_ends_the_calls_to_the_model(server, client, images, tmp_path):
    body = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    server.fail(Fault(status=429, body=body), times=100)
    comparison = compare(model(server), "How large is it?", images, store=tmp_path / "a", cluster=client, concurrency=1)
    assert all(row.error.startswith("QuotaExceededError") for row in comparison) and len(server.requests) == 1


def test_the_budget_holds_across_workers(server, client, images, tmp_path):
    llm = model(server, max_new_tokens=400)
    comparison = compare(
        llm, ["How?", "Which?", "What?"], images, store=tmp_path / "a", cluster=client, budget=Decimal("0.02")
    )
    assert 0 < comparison.budget.spent <= Decimal("0.02") and "budget" in comparison.incomplete
    assert 0 < len(server.requests) < 18
    assert len(vn.ledger.entries) == len(server.requests) == sum(row.finished for row in comparison)
    assert vn.ledger.total == comparison.budget.spent == sum(row.usd for row in comparison if row.finished)


def test_the_budget_of_the_ledger_applies_too(server, client, images, tmp_path):
    vn.ledger.budget = Decimal("0.0000001")
    comparison = compare(model(server), "How?", images, store=tmp_path / "a", cluster=client)
    assert "vn.ledger.budget" in comparison.incomplete and not server.requests


def pretend_version(version):
    import importlib.metadata as metadata

    names: Any = vars(metadata)
    if version is None:
        names["version"] = names.pop("real_version")
    else:
        names["real_version"], names["version"] = names["version"], lambda name: version


def test_another_version_on_a_worker_is_an_error_that_names_it(server, client, images, tmp_path):
    worker = next(iter(client.nthreads()))
    client.run(pretend_version, "0.0.1", workers=[worker])
    try:
        with pytest.raises(errors.ClusterError, match=f"{worker} has vision_nb 0.0.1, but the notebook has"):
            compare(model(server), "How?", images, store=tmp_path / "a", cluster=client)
    finally:
        client.run(pretend_version, None, workers=[worker])
    assert not server.requests


def test_a_worker_that_joins_later_with_another_version_is_an_error_too():
    with pytest.raises(errors.ClusterError, match=r"tcp://a:1 has Python 3.9, but the notebook has Python 3.11"):
        cluster_connection.check_versions("tcp://a:1", ("1", "3.9"), ("1", "3.11"))


def test_a_missing_package_is_an_error_with_the_command(server, images, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(errors.ClusterError, match=r'pip install "vision-nb\[dask\]"'):
        compare(model(server), "How?", images, store=tmp_path / "a", cluster="tcp://127.0.0.1:1")


def test_what_is_not_a_cluster_is_an_error(server, images, tmp_path, monkeypatch):
    with pytest.raises(errors.SettingsError, match="must be a Dask client"):
        compare(model(server), "How?", images, store=tmp_path / "a", cluster=2)
    monkeypatch.setattr(cluster_connection, "_CONNECT_SECONDS", 1.0)
    with closed_port() as port, pytest.raises(errors.ClusterError, match="cannot be reached"):
        compare(model(server), "How?", images, store=tmp_path / "a", cluster=f"tcp://127.0.0.1:{port}")


def test_a_batch_on_a_cluster_is_an_error(server, client, images, tmp_path):
    with pytest.raises(errors.SettingsError, match="omit one of them"):
        compare(model(server), "How?", images, store=tmp_path / "a", cluster=client, batch=True)


def test_a_closed_client_is_an_error(server, cluster, images, tmp_path):
    client = Client(cluster, set_as_default=False)
    client.close()
    with pytest.raises(errors.ClusterError, match="is closed"):
        compare(model(server), "How?", images, store=tmp_path / "a", cluster=client)


def test_a_model_with_its_own_http_client_cannot_be_sent(server, client, images, tmp_path):
    with httpx_client() as own, pytest.raises(errors.SettingsError, match="http_client="):
        compare(model(server, http_client=own), "How?", images, store=tmp_path / "a", cluster=client)


def httpx_client():
    import httpx2

    return httpx2.Client()
