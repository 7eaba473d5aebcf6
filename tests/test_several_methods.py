"""Several methods a run: each one's numbers are those of a run of it alone, and passes are shared."""

import numpy as np
import pandas as pd
import pytest
import torch
from common import analyze_images, error_of

from attnlab.attacks import ATTACKS
from attnlab.attention import METHODS, Method
from attnlab.attention.gradcam import grad_cam, grad_cam_maps
from attnlab.attention.map_metrics import map_mask_iou, topk_overlap
from attnlab.attention.pixel_maps import pool_to_grid
from attnlab.attention.several import Maker
from attnlab.config import AnalyzeConfig
from attnlab.data import load_dataset
from attnlab.data.resizing import ResizedDataset
from attnlab.errors import UserError
from attnlab.hooks import frozen_eval
from attnlab.kept_maps import unpack_map
from attnlab.models import Classifier
from attnlab.pipelines.fused_pass import fused_pass
from attnlab.records import read_records, rows_of
from attnlab.report.tables.export import make_tables, write_tables

COUNT = 12


def energy(seen):
    return seen.features.square().sum(1)


def brightness(seen):
    """At pixels: what is brighter than grey speaks for the class."""
    return seen.images.detach().mean(1) - 0.5


def passes(seen):
    """A pass of its own, with a number drawn from each image's seed."""
    with torch.no_grad():
        logits = seen.classifier(seen.images)
    draws = [torch.rand(1, generator=torch.Generator().manual_seed(seed)) for seed in seen.seeds]
    assert not seen.images.requires_grad
    assert not seen.logits.requires_grad
    top = logits.gather(1, seen.classes[:, None])[:, :, None] + torch.stack(draws)[:, :, None]
    return seen.features.mean(1) * top


@pytest.fixture
def methods(monkeypatch) -> None:
    entries = {
        "energy": Method(energy, needs="nothing"),
        "brightness": Method(brightness, needs="nothing", at="pixels", target="predicted"),
        "passes": Method(passes, needs="passes"),
    }
    for name, method in entries.items():
        monkeypatch.setitem(METHODS, name, method)


def analyzed(resnet8, out, method: str, **options):
    settings = {"model": "resnet8", "memory_format": "channels-last", "eps": "4/255,16/255", "positions": range(COUNT)}
    return analyze_images(resnet8, load_dataset("scenes"), out, method=method, **settings | options)


def plain(values):
    """Lists in place of arrays in arrays."""
    return [plain(one) for one in values] if isinstance(values, pd.Series | np.ndarray | list) else values


ALL = "grad-cam,brightness,passes,energy"


def test_each_methods_records_and_tables_are_those_of_a_run_of_it_alone(tmp_path, resnet8, methods):
    several = analyzed(resnet8, tmp_path / "several", ALL)
    frame, tables = read_records(several.folder), make_tables(several, optional=["controls"]).frames
    assert list(frame)[:2] == ["image_id", "method"]
    assert frame["method"].tolist() == [name for _ in range(COUNT) for name in ALL.split(",") for _ in range(2)]
    for name in ALL.split(","):
        alone = analyzed(resnet8, tmp_path / name, name)
        for ours, theirs in (
            (read_records(several.folder, name), read_records(alone.folder)),
            (frame[frame["method"] == name].drop(columns="method"), read_records(alone.folder)),
        ):
            for column in theirs:
                np.testing.assert_equal(plain(ours[column]), plain(theirs[column]), f"{name} {column}")
        assert list(rows_of(several, method=name)) == list(rows_of(alone))
        for title, table in make_tables(alone, optional=["controls"]).frames.items():
            of_method = tables[title][tables[title]["method"] == name].drop(columns="method").reset_index(drop=True)
            pd.testing.assert_frame_equal(of_method, table)


def test_tables_of_several_methods_have_a_column_and_a_caption_that_name_them(tmp_path, resnet8, methods):
    run = analyzed(resnet8, tmp_path / "run", "energy,grad-cam,brightness")
    report = write_tables(run.folder)
    assert [list(report.frames[name])[:3] for name in ("table1", "table3")] == [
        ["eps", "method", "group"],
        ["eps", "method", "cells"],
    ]
    assert (
        "energy and grad-cam maps of the true class, brightness maps of the predicted class"
        in report.captions["table3"]
    )
    assert (run.folder / "tables/table1.csv").read_text().startswith("eps,method,group,n,percent,iou_att_gt,")
    assert r"4/255 & energy &" in (run.folder / "tables/table1.tex").read_text()
    assert run.manifest["resolutions"] == {"energy": "layer", "grad-cam": "layer", "brightness": "pixels"}


def test_captions_say_of_which_methods_the_maps_are_the_same_for_every_class(tmp_path, resnet8):
    run = analyzed(resnet8, tmp_path / "run", "eigen-cam,grad-cam,centre,random-map", eps="4/255")
    report, said = write_tables(run.folder), "eigen-cam, centre and random-map maps, the same for every class"
    for name in ("table1", "table3"):
        assert f"{said}, grad-cam maps of the true class" in report.captions[name]
        assert said in (run.folder / f"tables/{name}.tex").read_text().replace("\n% ", " ")
    alone = make_tables(analyzed(resnet8, tmp_path / "alone", "centre", eps="4/255")).captions["table1"]
    assert "centre maps, the same for every class" in alone
    assert "true class" not in alone


def test_a_pixel_methods_area_is_read_at_pixels_and_its_cells_on_the_layers_grid(tmp_path, resnet8, methods):
    run = analyzed(resnet8, tmp_path / "run", "brightness", keep_maps=True, eps="16/255")
    prepared = ResizedDataset(load_dataset("scenes"), (64, 64))
    for place, row in enumerate(rows_of(run)):
        sample = prepared[place]
        maps = sample.pixels[None].float().div(255).mean(1) - 0.5
        mask = torch.as_tensor(sample.mask)[None]
        assert row["iou_att_gt"] == pytest.approx(float(map_mask_iou(maps, mask)), abs=1e-6)
        np.testing.assert_allclose(row["map"], pool_to_grid(maps, (8, 8)).flatten(), rtol=1e-5)
        kept = unpack_map(row["full"], (64, 64))
        np.testing.assert_allclose(kept, maps[0] / maps.abs().max(), atol=1e-3)
        attacked = row["adversarial"][0]
        first, second = (torch.tensor(one["map"]).view(1, 8, 8) for one in (row, attacked))
        shared = attacked["shared_cells"][9]
        assert shared / (20 - shared) == pytest.approx(float(topk_overlap(first, second, 10)))
        assert unpack_map(attacked["full"], (64, 64)).shape == (64, 64)


def test_methods_share_one_forward_pass_and_take_the_class_of_their_target(resnet8, scenes_batch, methods):
    images, labels = scenes_batch
    wrong = (labels + 1) % 10
    passes_made = []
    handle = resnet8.network.register_forward_hook(lambda *_: passes_made.append(1))
    targets = {"grad-cam": "true", "energy": "predicted", "brightness": "true"}
    clean, _ = fused_pass(resnet8, images, wrong, [ATTACKS["stepll"]], targets)
    handle.remove()
    assert len(passes_made) == 2  # clean and attacked
    torch.testing.assert_close(clean.maps["grad-cam"], grad_cam(resnet8, images, wrong), rtol=0, atol=0)
    assert list(clean.maps) == list(targets)


def test_maps_do_not_depend_on_batch_or_neighbours_and_the_model_is_given_back(small, methods):
    images, labels = torch.rand(5, 3, 19, 23, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4])
    flags = {name: parameter.requires_grad for name, parameter in small.named_parameters()}
    targets, seeds = {"grad-cam": "true", "passes": "true", "brightness": "true"}, [3, 1, 4, 1, 5]
    together, _ = fused_pass(small, images, labels, [ATTACKS["stepll"]], targets, seeds)
    for place in range(5):
        one = slice(place, place + 1)
        alone, _ = fused_pass(small, images[one], labels[one], [ATTACKS["stepll"]], targets, seeds[one])
        for name in targets:
            torch.testing.assert_close(alone.maps[name][0], together.maps[name][place])
    assert {name: parameter.requires_grad for name, parameter in small.named_parameters()} == flags
    assert not small.network.second._forward_hooks


def test_a_gradient_by_the_images_reaches_them_on_clean_and_attacked_images(small, monkeypatch):
    def saliency(seen):
        score = seen.logits.gather(1, seen.classes[:, None]).sum()
        return torch.autograd.grad(score, seen.images, retain_graph=True)[0].sum(1)

    monkeypatch.setitem(METHODS, "saliency", Method(saliency, at="pixels"))
    images, labels = torch.rand(3, 3, 19, 23, dtype=torch.float64), torch.tensor([0, 1, 2])
    clean, (attacked,) = fused_pass(
        small, images, labels, [ATTACKS["stepll"]], {"saliency": "true", "grad-cam": "true"}
    )
    for seen in (clean, attacked):
        point = seen.images.clone().requires_grad_()
        small(point).gather(1, labels[:, None]).sum().backward()
        torch.testing.assert_close(seen.maps["saliency"], point.grad.sum(1))
        torch.testing.assert_close(seen.maps["grad-cam"], grad_cam(small, seen.images, labels))
    small.zero_grad()


def test_a_network_without_a_layer_has_maps_at_pixels_on_a_grid_of_its_own(tmp_path, methods):
    class Flat(torch.nn.Module):
        input_size = (12, 16)
        mean, std = 0.0, 1.0

        def __init__(self):
            super().__init__()
            self.last = torch.nn.Linear(12 * 16 * 3, 10)

        def forward(self, x):
            return self.last(x.flatten(1))

    torch.manual_seed(0)
    classifier = Classifier(Flat()).eval()
    images = load_dataset("scenes")
    assert "no spatial feature map" in error_of(
        lambda: analyze_images(classifier, images, tmp_path / "refused", method="energy", positions=range(4))
    )
    run = analyze_images(classifier, images, tmp_path / "run", method="brightness", positions=range(4))
    assert {len(row["map"]) for row in rows_of(run)} == {64}
    assert "8 x 8 cells" in make_tables(run).captions["table3"]


def test_maps_of_another_shape_or_not_finite_stop_the_run(tmp_path, resnet8, monkeypatch):
    monkeypatch.setitem(METHODS, "wide", Method(lambda seen: seen.features[:, :, 0]))
    monkeypatch.setitem(METHODS, "nan", Method(lambda seen: seen.features[:, 0] * torch.nan))
    assert "expected maps of wide of shape (8, 8, 8)" in error_of(lambda: analyzed(resnet8, tmp_path / "a", "wide"))
    found = error_of(lambda: analyzed(resnet8, tmp_path / "b", "grad-cam,nan"))
    assert "nan gave a map that is not finite for image val-00000" in found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "grad-cam,lime,grad-cam"}, "expected each --method once, got grad-cam twice"),
        ({"method": "grad-cam,same"}, "got grad-cam and same, which are the same"),
        ({"method": "grad-cam,layercam"}, "expected --method to be one of grad-cam,"),
        ({"method": "grad-cam,lime", "keep_maps": True}, "expected --keep-maps with a --method whose maps are at the"),
    ],
)
def test_methods_that_cannot_be_together_are_refused(options, message, monkeypatch):
    monkeypatch.setitem(METHODS, "same", METHODS["grad-cam"])
    with pytest.raises(UserError, match=message):
        AnalyzeConfig.of(**options)


def test_a_method_that_the_run_does_not_have_is_refused_with_those_it_has(tmp_path, resnet8, methods):
    run = analyzed(resnet8, tmp_path / "run", "grad-cam,energy")
    for read in (lambda: read_records(run.folder, "layer-cam"), lambda: list(rows_of(run, method="lime"))):
        assert "(grad-cam, energy), got '" in error_of(read)


def test_the_maker_gives_maps_without_labels_of_the_prediction(resnet8, scenes_batch):
    images, _ = scenes_batch
    maker = Maker(resnet8, {"grad-cam": "true"})
    with frozen_eval(resnet8):
        look = maker.look(images, None, cut=True)
        maps = maker.finish(look)["grad-cam"]
    torch.testing.assert_close(maps, grad_cam(resnet8, images, look.logits.argmax(1)), rtol=0, atol=0)
    assert METHODS["grad-cam"].maps.load() is grad_cam_maps
