"""Networks in wrappers, and weights of every kind: taken out and right, or refused in one line."""

import pytest
import torch
from common import error_of, refused
from nets import Small
from torch import nn

from attnlab.models import Classifier, load_model

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))

WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "torch.compile": lambda network: torch.compile(network, backend="eager"),
    "two of them": lambda network: torch.compile(nn.DataParallel(network), backend="eager"),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_network_is_taken_out_of_its_wrapper_with_what_it_says_of_itself(wrap):
    network = Small().eval()
    network.mean, network.std = 0.5, 0.25
    expected = network((IMAGES - 0.5) / 0.25)
    classifier = Classifier(wrap(network)).eval()
    assert type(classifier.network) is Small
    assert (classifier.input_size, classifier.attention_layer, classifier.head) == ((16, 16), "features", "fc")
    torch.testing.assert_close(classifier(IMAGES), expected)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_what_is_said_on_a_wrapper_counts(wrap):
    wrapped = wrap(Small().eval())
    wrapped.mean, wrapped.std, wrapped.attention_layer = 0.5, 0.25, "features.0"
    classifier = Classifier(wrapped).eval()
    torch.testing.assert_close(classifier(IMAGES), classifier.network((IMAGES - 0.5) / 0.25))
    assert classifier.attention_layer == "features.0"


def test_distributed_data_parallel_is_taken_off(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        classifier = Classifier(nn.parallel.DistributedDataParallel(Small()))
        assert type(classifier.network) is Small
    finally:
        torch.distributed.destroy_process_group()


def test_weights_of_a_wrapped_network_load_under_their_plain_names(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("from nets import Small, nn\n\ndef build():\n    return nn.DataParallel(Small())\n")
    torch.save({name: value + 1 for name, value in Small().state_dict().items()}, tmp_path / "plain.pth")
    loaded = load_model(f"{path}:build", tmp_path / "plain.pth")
    torch.testing.assert_close(loaded.network.fc.bias, Small().fc.bias + 1)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda network: torch.jit.trace(network, IMAGES)])
def test_scripted_networks_are_refused_with_the_reason(make):
    message = error_of(Classifier, make(Small().eval()))
    assert message.startswith("expected a network of Python modules, but it was made by torch.jit: no hook runs inside")
    outer = nn.Sequential(make(Small().eval()))
    assert "its module '0' was made by torch.jit" in error_of(Classifier, outer)


def test_exported_networks_are_refused_and_traced_ones_are_not():
    exported = torch.export.export(Small().eval(), (IMAGES,)).module()
    assert "it was made by torch.export" in error_of(Classifier, exported)
    traced = Classifier(torch.fx.symbolic_trace(Small().eval())).eval()
    assert torch.equal(traced(IMAGES), Small().eval()(IMAGES))


@pytest.mark.filterwarnings("ignore:.*quantization.*:DeprecationWarning")
def test_quantised_networks_are_refused():
    quantised = torch.ao.quantization.quantize_dynamic(Small().eval(), {nn.Linear}, dtype=torch.qint8)
    assert "its module 'fc' is quantised (Linear) and has no gradient" in error_of(Classifier, quantised)


def test_sparse_weights_are_refused_by_name():
    network = Small()
    network.fc.weight = nn.Parameter(network.fc.weight.detach().to_sparse())
    message = "expected dense floating-point weights, but fc.weight is sparse_coo; make it dense (.to_dense())"
    assert error_of(Classifier, network) == message


def test_weights_without_values_are_refused_by_name(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\nfrom nets import Small\n\ndef build():\n    with torch.device('meta'):\n        return Small()\n"
    )
    assert refused(f"{path}:build").startswith(
        "expected weights with values, but features.0.weight is on the device meta; build the network without"
    )
    part = Small()
    part.fc.to("meta")
    assert "but fc.weight is on the device meta" in error_of(Classifier, part)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_weights_on_several_devices_are_refused_by_name():
    network = Small()
    network.fc.to("cuda")
    assert error_of(Classifier, network).startswith(
        "expected all weights on one device, got features.0.weight on cpu, fc.weight on cuda:0"
    )


def test_whole_number_weights_do_not_make_the_images_whole_numbers():
    class Table(Small):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.table = nn.Parameter(torch.arange(3), requires_grad=False)
            self.features, self.fc = Small().features, Small().fc

    assert next(Table().parameters()).dtype == torch.int64
    assert torch.equal(Classifier(Table()).eval()(IMAGES), Small().eval()(IMAGES))


def test_a_network_without_parameters_is_a_classifier():
    network = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
    network.input_size = 16
    classifier = Classifier(network).eval().place("cpu")
    assert classifier.classes == 48
    torch.testing.assert_close(classifier(IMAGES), nn.functional.avg_pool2d(IMAGES, 4).flatten(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_weights_give_the_logits_of_the_same_weights_in_float32(dtype):
    network = Small().eval().to(dtype)
    expected = Small().eval()
    expected.load_state_dict({name: value.float() for name, value in network.state_dict().items()})
    logits = Classifier(network).eval().place("cpu", "fp32")(IMAGES)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected(IMAGES), rtol=1e-4, atol=1e-5)


def test_a_lazy_layer_that_saw_no_batch_yet_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))
    assert error_of(Classifier, network).startswith("expected weights with shapes, but 3.weight is lazy; pass a batch")
