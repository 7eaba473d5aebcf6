"""The evaluation run: against attacks made one by one, in any batch size, cut short and resumed."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from twins import ATTACKS_USED, COUNT, EPS, EVALUATION, IMAGES, assert_same_records, run_evaluation

from attnlab.attacks.objectives import margin
from attnlab.attacks.pgd import perturb
from attnlab.errors import UserError
from attnlab.pipelines.accuracy_records import AttackBatch, looked_at
from attnlab.records import read_evaluation
from attnlab.runs import Run
from attnlab.seeding import seed_of

# ------------------------------------------------------------------ records


def test_every_model_image_and_attack_has_a_record_in_order(evaluated):
    records = read_evaluation(evaluated)
    assert list(records.columns) == [
        "model", "image_id", "label", "clean_prediction", "attack", "prediction", "margin", "loss", "steps_to_success",
        "distance", "shared_cells",
    ]  # fmt: skip
    expected = [
        (model, f"test-{number:05d}", attack)
        for model in ("first", "second")
        for number in range(COUNT)
        for attack in ATTACKS_USED
    ]
    assert list(records[["model", "image_id", "attack"]].itertuples(index=False, name=None)) == expected
    assert records["label"].tolist() == [
        IMAGES.label_of(number) for _ in range(2) for number in range(COUNT) for _ in ATTACKS_USED
    ]
    fates = set(records["steps_to_success"].dropna())
    assert {0.0, 1.0} < fates
    assert records["steps_to_success"].isna().any()


def test_records_equal_attacks_made_one_image_at_a_time(evaluated, twins, scenes_batch):
    images, labels = scenes_batch
    records = read_evaluation(evaluated).set_index(["model", "image_id", "attack"])
    for name, classifier in twins.items():
        for number in (0, 5, 11, 15):
            image, label = images[[number]], labels[[number]]
            image_id = IMAGES.image_ids[number]
            for attack, setting in ATTACKS_USED.items():
                made = image
                if setting is not None:
                    made = perturb(classifier, image, label, setting, seeds=[seed_of(3, image_id)])
                with torch.no_grad():
                    logits = classifier(made)
                record = records.loc[(name, image_id, attack)]
                assert record["prediction"] == logits.argmax(1)
                assert record["margin"] == pytest.approx(margin(logits, label).item(), abs=1e-2)
                loss = torch.nn.functional.cross_entropy(logits, label).item()
                assert record["loss"] == pytest.approx(loss, abs=1e-2)


def test_clean_is_the_image_itself_and_first_lost_after_0_steps_or_never(evaluated):
    clean = read_evaluation(evaluated).query("attack == 'clean'")
    assert (clean["prediction"] == clean["clean_prediction"]).all()
    assert ((clean["steps_to_success"] == 0) == (clean["prediction"] != clean["label"])).all()
    assert ((clean["margin"] < 0) == (clean["prediction"] != clean["label"])).all()


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 2), (32, 0)])
def test_batch_size_and_workers_change_no_record(tmp_path, evaluated, twins, batch_size, workers):
    run_evaluation({"first": twins["first"]}, tmp_path / "r", batch_size=batch_size, workers=workers)
    expected = read_evaluation(evaluated).query("model == 'first'")
    assert_same_records(read_evaluation(tmp_path / "r"), expected)


def test_two_models_at_once_equal_each_alone(tmp_path, evaluated, twins):
    alone = []
    for name in twins:
        run_evaluation({name: twins[name]}, tmp_path / name)
        alone.append(read_evaluation(tmp_path / name))
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), read_evaluation(evaluated))


def test_attacks_at_once_equal_each_alone(tmp_path, evaluated, twins):
    both = read_evaluation(evaluated).query("model == 'first'")
    for name in ("pgd2", "iter-stepll2+a3"):
        run_evaluation({"first": twins["first"]}, tmp_path / name, {"attacks": {name: ATTACKS_USED[name]}, "seed": 3})
        expected = both[both["attack"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(read_evaluation(tmp_path / name), expected)


def test_another_seed_moves_random_starts_alone(tmp_path, evaluated, twins):
    run_evaluation({"first": twins["first"]}, tmp_path / "r", EVALUATION | {"seed": 4})
    ours, before = (records.set_index(["image_id", "attack"])["margin"] for records in (
        read_evaluation(tmp_path / "r"), read_evaluation(evaluated).query("model == 'first'")
    ))  # fmt: skip
    moved = (ours != before).groupby("attack").any()
    assert moved.to_dict() == {name: name in ("pgd2", "pgd4", "cw2") for name in ATTACKS_USED}


def test_stop_gives_the_worst_points_accuracy_of_the_full_run(tmp_path, evaluated, twins):
    run_evaluation(twins, tmp_path / "r", EVALUATION | {"stop": True})
    left, full = read_evaluation(tmp_path / "r"), read_evaluation(evaluated)
    assert ((left["prediction"] != left["label"]) == full["steps_to_success"].notna()).all()
    pd.testing.assert_series_equal(left["steps_to_success"], full["steps_to_success"])


def test_transfer_records_the_victims_answers_to_the_sources_images(tmp_path, twins, scenes_batch):
    images, labels = scenes_batch
    evaluation = {"attacks": {"pgd2": ATTACKS_USED["pgd2"]}, "seed": 3}
    run = run_evaluation({"first": twins["first"]}, tmp_path / "r", evaluation, source=twins["second"])
    seeds = [seed_of(3, image_id) for image_id in IMAGES.image_ids[:COUNT]]
    made = perturb(twins["second"], images, labels, ATTACKS_USED["pgd2"], seeds=seeds)
    with torch.no_grad():
        expected = twins["first"](made).argmax(1)
    assert read_evaluation(tmp_path / "r")["prediction"].tolist() == expected.tolist()
    assert run.manifest["model"]["transfer"]["sha256"] == twins["second"].sha256


def test_a_transferred_attack_is_the_same_beside_others_and_alone(tmp_path, twins):
    """The victim looks at its last point alone, so that no other reading of the trajectory counts as a loss of it."""
    both = {name: replace(ATTACKS_USED[name], step_size=EPS) for name in ("pgd2", "pgd4")}
    for name, attacks in (("both", both), ("alone", {"pgd4": both["pgd4"]})):
        one = {"first": twins["first"]}
        run_evaluation(one, tmp_path / name, {"attacks": attacks, "seed": 3}, source=twins["second"])
    beside, alone = read_evaluation(tmp_path / "both"), read_evaluation(tmp_path / "alone")
    assert_same_records(beside[beside["attack"] == "pgd4"].reset_index(drop=True), alone)


def test_an_image_that_is_lost_without_an_attack_is_lost_after_0_steps_of_one_that_tells_none(twins, scenes_batch):
    images, labels = scenes_batch
    wrong = (labels + 1) % 10
    victim = twins["first"]
    target = AttackBatch(victim, victim, [], images, wrong, torch.nn.functional.one_hot(labels, 10) * 1.0, [], {})
    assert looked_at(target, images, steps=7).steps.tolist() == [0] * COUNT
    target = target._replace(clean_logits=torch.nn.functional.one_hot(wrong, 10) * 1.0)
    assert looked_at(target, images, steps=7).steps.tolist() == [7] * COUNT


# ------------------------------------------------------------------ cut short


#: clean images, and an attack read at two numbers of steps
RESUMED = EVALUATION | {"attacks": {name: ATTACKS_USED[name] for name in ("clean", "pgd2", "pgd4")}}


@pytest.fixture(scope="module")
def uninterrupted(twins, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("evaluations") / "uninterrupted"
    run_evaluation(twins, out, RESUMED)
    return out


@pytest.mark.parametrize("calls", [2, 3, 6, 8])
def test_a_run_that_is_interrupted_and_resumed_equals_an_uninterrupted_one(tmp_path, uninterrupted, twins, calls):
    """In the first model and in the second, at the end of a part and amid one."""
    seen = []

    def interrupt(count: int) -> None:
        seen.append(count)
        if len(seen) == calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_evaluation(twins, tmp_path / "r", RESUMED, batch_size=4, part_size=12, progress=interrupt)
    done, seen = sum(seen), []
    assert Run(tmp_path / "r").manifest["finished"] is None
    run_evaluation(twins, tmp_path / "r", RESUMED, batch_size=4, part_size=12, progress=seen.append)
    assert seen[0] == done, "what was done before is counted as done"
    assert sum(seen) == 2 * COUNT
    assert_same_records(read_evaluation(tmp_path / "r"), read_evaluation(uninterrupted))
    assert list((tmp_path / "r/records").glob("*.unfinished")) == []
    assert Run(tmp_path / "r").manifest["finished"] is not None


def test_a_finished_run_is_not_computed_again(tmp_path, twins):
    evaluation = {"attacks": {"clean": None}}
    run_evaluation(twins, tmp_path / "r", evaluation)
    passes, seen = [], []
    handle = twins["first"].network.register_forward_hook(lambda *_: passes.append(1))
    run_evaluation(twins, tmp_path / "r", evaluation, progress=seen.append)
    handle.remove()
    assert passes == []
    assert seen == [2 * COUNT]


def test_an_interrupted_run_is_not_resumed_in_another_order_of_models(tmp_path, twins):
    evaluation, seen = {"attacks": {"clean": None}}, []

    def interrupt(count: int) -> None:
        seen.append(count)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_evaluation(twins, tmp_path / "r", evaluation, part_size=8, progress=interrupt)
    swapped = dict(reversed(twins.items()))
    try:
        run_evaluation(swapped, tmp_path / "r", evaluation, part_size=8)
    except UserError:
        return
    assert read_evaluation(tmp_path / "r")["model"].value_counts().to_dict() == {"first": COUNT, "second": COUNT}
