"""The page of a user's own model: it names it, and speaks of nothing that the model has not."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.run_facts import Facts
from bench.report import build, formats, summary
from bench.report.banners import banners
from bench.report.index import render_index
from tests.bench.command import bench
from tests.bench.made_up_runs import IPEX_1, THREE, MakeRun, Save, answer_of

if TYPE_CHECKING:
    from bench.store.records import Run

OWN = {
    "model": "shop/model.py:load",
    "settings": ["size=large"],
    "inputs": "shop/data.py:a_batch",
    "shape": None,
    "decide": None,
    "calibration": None,
    "train_step": None,
}
FORM = {
    "is_plain": False,
    "positional": 0,
    "keywords": ["tokens", "mask"],
    "only_tensors": True,
    "dims": [2],
    "weight_dims": [1, 2],
    "outputs": "mapping",
}


def of_own(run: Run, **changes: Any) -> Run:
    """The run as one of a user's model; `changes` are of its request."""
    environment = {
        **run.environment,
        "request": {"own": {**OWN, **changes}},
        "data": {"source": "given", "root": OWN["inputs"], "images": 1, "form": FORM},
        "model": {"name": OWN["model"], "trained": False, "parameters": 12_345_678},
        "command": ["bench", "run", "--model", OWN["model"]],
    }
    labels = changes.get("decide") is not None
    parity = tuple(
        replace(
            row,
            max_abs_map_error=None,
            accuracy=None,
            recall_bad=None,
            decisions_changed=row.decisions_changed if labels else None,
            trained=False,
        )
        for row in run.parity
    )
    return replace(run, environment=environment, parity=parity)


@pytest.fixture(scope="module")
def own(make_run: MakeRun) -> Run:
    """A smoke run of a model of which only the inputs are known."""
    run = make_run(profile="smoke", rounds=4, source="given")
    inference = tuple(row for row in run.scenarios if row.task == "inference")
    return of_own(replace(run, scenarios=inference))


def visible(page: str) -> str:
    """The words of a page, without markup, style, script and drawings' ids."""
    body = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", body))


def test_the_first_screen_names_the_model_its_size_weights_and_inputs(own: Run) -> None:
    """The page, the terminal, Markdown, JSON and `bench recommend` alike."""
    page = build(own)
    top = visible(page[: page.index('id="answer"')])
    terminal, text = summary(own), formats.markdown(Facts(own))
    data = json.loads(formats.as_json(Facts(own)))["model"]
    for words in ("shop/model.py:load(size=large)", "12.3 million", "RANDOM", "shop/data.py:a"):
        assert words in top
        assert words in " ".join(terminal.split())
        assert words in text.replace("\\", "")
        assert words in data
    assert "shop/model.py:load" in page[: page.index("<style>")]


def test_nothing_is_said_of_images_pills_or_decisions(own: Run) -> None:
    """It speaks of items, outputs and labels, and shows no figures that others published."""
    for run in (own, of_own(own, decide="shop/data.py:label")):
        words = visible(build(run)).lower()
        words = words.replace("pillqc-bench", "").replace("--no-decision-changes", "")
        for absent in ("image", "pill", "decision", "map error", "recall", "2.22"):
            assert absent not in words, words[words.index(absent) - 60 :][:120]
        assert "items/s" in words


def test_no_layout_is_named_where_no_tensor_has_one(own: Run) -> None:
    """Tokens are in no layout, though ids say one; a model of images has its layouts."""
    images = {**own.environment["data"], "form": {**FORM, "dims": [4]}}
    of_images = replace(own, environment={**own.environment, "data": images})
    for run, named in ((own, False), (of_images, True)):
        words = visible(build(run))
        assert ("(channels_last" in words) is named
        assert "· ·" not in words


def test_what_is_missing_names_its_option(own: Run) -> None:
    """On the first screen, each in its place; with the option there is nothing to say."""
    options = {"decisions": "--decide", "training": "--train-step", "int8": "--calibration"}
    for key, option in options.items():
        answer = answer_of(Facts(own), key)
        assert option in answer.headline
    assert answer_of(Facts(own), "decisions").question == "Same outputs?"
    given = dict.fromkeys(("decide", "calibration", "train_step"), "shop/data.py:f")
    told = Facts(of_own(own, **given))
    for key in ("decisions", "training"):
        assert "--" not in answer_of(told, key).headline
    assert answer_of(told, "decisions").question == "Same labels?"


def test_labels_have_a_place_only_where_there_are_any(own: Run) -> None:
    """Else the section is of outputs alone."""
    for run, named in ((own, False), (of_own(own, decide="shop/data.py:label"), True)):
        words = visible(build(run))
        assert ("Outputs and labels" in words) is named
        assert ("Labels" in words.replace("Labels by", "")) is named


def test_outputs_without_a_number_prove_nothing(own: Run) -> None:
    """A detector with random weights finds no box in any way of running it."""
    data = {**own.environment["data"], "form": {**FORM, "has_values": False}}
    empty = replace(own, environment={**own.environment, "data": data})
    answer = answer_of(Facts(empty), "decisions")
    assert "says little" in answer.headline
    assert answer.tone == "plain"


def test_labels_that_changed_are_counted(make_run: MakeRun) -> None:
    """As decisions are, in the same columns."""
    run = make_run(only=THREE, decisions_changed=((IPEX_1, 2),))
    facts = Facts(of_own(run, decide="shop/data.py:label"))
    answer = answer_of(facts, "decisions")
    assert answer.lines[0].text == "2 labels of 32 changed"
    assert "on some item" in answer.headline
    assert "Labels changed" in visible(build(facts.run))


def test_random_weights_are_a_note_and_loaded_ones_none(own: Run) -> None:
    """Only their outputs mean nothing: the times are what was asked."""
    titles = [banner.title for banner in banners(Facts(own))]
    assert "The weights are random" in titles
    assert "The model is untrained" not in titles
    model = {**own.environment["model"], "trained": True}
    loaded = replace(
        own,
        environment={**own.environment, "model": model},
        parity=tuple(replace(row, trained=True) for row in own.parity),
    )
    assert "The weights are random" not in [banner.title for banner in banners(Facts(loaded))]
    assert "RANDOM" not in visible(build(loaded))


def test_one_batch_size_is_answered_once(make_run: MakeRun) -> None:
    """Throughput at the only batch size is its latency in another unit."""
    page = build(of_own(make_run(only=THREE)))
    assert 'id="answer-latency"' in page
    assert 'id="answer-throughput"' not in page


def test_eager_stock_against_compiled_ipex_is_said(own: Run) -> None:
    """Where stock's TorchScript gave no times in bf16, and IPEX's did."""
    environment = {**own.environment["machine"], "native_bf16": True}
    native = replace(own, environment={**own.environment, "machine": environment})
    rows = tuple(
        replace(row, native_dtype=True, percent_of_peak=None) if row.dtype == "bf16" else row
        for row in native.scenarios
    )
    fair = answer_of(Facts(replace(native, scenarios=rows)), "ipex").headline
    assert "eager mode alone" not in fair
    without = [row for row in rows if "stock/torchscript+fusion/bf16" not in row.scenario]
    headline = answer_of(Facts(replace(native, scenarios=tuple(without))), "ipex").headline
    assert "Of stock, eager mode alone gave times in bf16." in headline
    assert "eager mode alone" not in answer_of(Facts(own), "ipex").headline


def test_the_choice_is_not_written_for_the_inspector(own: Run, save: Save, tmp_path: Any) -> None:
    """`pillqc inspect` would run another model by it."""
    folder, path = save(own, tmp_path / "run"), tmp_path / "acceleration.json"
    done = bench("recommend", folder, "--write", path)
    assert done.exit_code == 1
    assert "this run measured shop/model.py:load" in done.stderr
    assert "Model: shop/model.py:load(size=large)" in done.output
    assert not path.exists()
    assert "--write" not in build(own)


def test_the_index_keeps_models_apart(
    own: Run, make_run: MakeRun, save: Save, tmp_path: Any
) -> None:
    """Two models on one machine have a history each."""
    save(own, tmp_path / "own")
    save(make_run(profile="smoke", rounds=4), tmp_path / "pills")
    page = render_index(tmp_path, tmp_path)
    assert page.count('<section id="machine') == 2
    assert "shop/model.py:load(size=large)" in page
    assert "pill inspector" in page


def test_terminal_breaks_no_name(own: Run) -> None:
    """However long the model's name is: a reader copies it."""
    name = "a-package.of-mine.models:" + "x" * 120
    text = formats.terminal(Facts(of_own(own, model=name, settings=[])))
    assert name in text


def test_bf16_without_a_twin_is_answered_by_the_best(make_run: MakeRun) -> None:
    """bf16's ways are paired with channels_last in fp32, which only images have."""
    run = of_own(make_run(profile="smoke", rounds=4, source="given", native_bf16=True))
    rows = tuple(
        row for row in run.scenarios if (row.dtype, row.layout) != ("fp32", "channels_last")
    )
    whole, found = (answer_of(Facts(one), "bf16") for one in (run, replace(run, scenarios=rows)))
    assert found.tone == whole.tone == "good"
    assert found.lines
