"""Fixtures of the report's tests: runs that were never measured, and a real browser."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.run_facts import Facts
from bench.plan.scenario import Status
from tests.bench.made_up_runs import THREE, make_run, save

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from bench.store.records import Run
    from tests.bench.made_up_runs import MakeRun

__all__ = ["make_run", "save"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def good(make_run: MakeRun) -> Facts:
    """A quiet, complete run."""
    return Facts(make_run())


@pytest.fixture(scope="session")
def three(make_run: MakeRun) -> Run:
    """The same with three scenarios at batch 1."""
    return make_run(only=THREE)


@pytest.fixture(scope="session")
def mishaps() -> tuple[tuple[str, Status, str], ...]:
    """One scenario of each unhappy status."""
    killed = "the worker was killed by signal 9 while it prepared the model"
    needed = "the worker needed more than 14 GiB"
    unsettled = "did not settle during warm-up in launch 0; measured all the same"
    return (
        ("inference/stock/compile/fp32/channels_last/b8", Status.CRASHED, killed),
        ("inference/ipex/compile/fp32/channels_last/b8", Status.UNSUPPORTED, "no C++ compiler"),
        ("inference/ipex/torchscript+fusion/bf16/channels_last/b32", Status.TIMEOUT, "180 s"),
        ("inference/ipex/eager/fp32/channels_last/b1", Status.WRONG_OUTPUT, "differ by 0.71"),
        ("inference/ipex/eager/fp32/channels_last/b32", Status.NO_STEADY_STATE, unsettled),
        ("training/ipex/eager/bf16/channels_last/b8/full", Status.OUT_OF_MEMORY, needed),
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; without it these tests skip, and fail where CI must have it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is not installed, and CI must have it (apt install chromium)")
        pytest.skip("Chromium is not installed")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, report: Path) -> Iterator[Callable[..., Page]]:
    """Opens the report, and fails the test if the page asks for, logs or throws anything."""
    contexts = []
    trouble: list[str] = []

    def open_it(width: int = 1280, path: Path = report, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("request", lambda request: requests.append(request.url))
        requests: list[str] = []
        page.goto(path.as_uri())
        trouble.extend(url for url in requests if url != path.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert trouble == []
