"""Names of classes: which label of a network is meant by which class of a data set, and when nobody can tell."""

import pytest
from common import error_of
from nets import Small

from attnlab.models import Classifier
from attnlab.models.class_order import order_by_name

CRANES = ["n02012849 crane", "n03126707 crane"]


def indices(names: list[str], labels: list[str], **closed: bool) -> list[int]:
    return list(order_by_name(names, labels, **closed).indices)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["tench", "great white shark"], ["tench, Tinca tinca", "great_white_shark"]),
        (["n01440764 tench, Tinca tinca", "Hen"], ["Tench", "hen"]),
        (["Cardigan", "cardigan"], ["Cardigan", "cardigan"]),
        (["crane", "crane"], ["crane bird", "crane"]),  # of ImageNet, by synsets and by torchvision
    ],
)
def test_the_same_names_at_the_same_places_need_no_word(names, labels):
    assert order_by_name(names, labels) == ((), "")


def test_the_same_names_at_other_places_are_matched():
    found = order_by_name(["cat", "dog", "Polar-Bear"], ["polar_bear, Ursus", "cat", "dog"])
    assert found.indices == (1, 2, 0)
    assert found.note == "3 of 3 classes stand at another place: matched by name"


def test_a_data_set_of_fewer_classes_has_the_others_behind_it_in_the_order_of_their_names_or_leaves_them_out():
    labels = ["dog", "zebra", "cat", "ant"]
    found = order_by_name(["cat", "dog"], labels)
    assert found.indices == (2, 0, 3, 1)
    assert found.note.startswith(
        "the data have 2 of the model's 4 classes, matched by name: an image may be predicted "
    )
    assert indices(["cat", "dog"], labels, closed=True) == [2, 0]


def test_names_that_are_none_of_the_labels_are_taken_by_their_places_where_there_are_as_many():
    found = order_by_name(["n01440764", "n01443537"], ["tench", "goldfish"])
    assert found.indices == ()
    assert found.note == (
        "all 2 class names differ, such as 'n01440764' of the data and 'tench' of the model: labels are taken as "
        "indices"
    )
    assert order_by_name(["cat", "hound"], ["cat", "dog"]).note.startswith("1 of 2 class names differ, such as 'hound'")


def test_some_names_at_other_places_and_some_nowhere_are_refused():
    assert error_of(order_by_name, ["dog", "cow"], ["cat", "dog"]) == (
        "'cow', its class 1, is none of the model's labels, though 'dog', its class 0, is label 1 (cat, dog, ...); "
        "name the classes of both alike, in a classes.txt or the network's `labels`"
    )
    assert error_of(order_by_name, ["dog", "cow"], ["cat", "dog", "ant"]).startswith("'cow', its class 1, is none of")


def test_a_name_of_two_classes_is_decided_by_wordnet_id_or_whole_line_or_case():
    assert indices(["n03126707", "n02012849"], CRANES) == [1, 0]
    assert indices(["n03126707 crane", "tench"], ["tench", *CRANES], closed=True) == [2, 0]
    assert indices(["tank, army tank", "tank"], ["tank", "tank, army tank", "hen"], closed=True) == [1, 0]
    assert indices(["cardigan", "Ox"], ["Cardigan, corgi", "cardigan", "ox"], closed=True) == [1, 2]
    assert indices(["crane bird", "tench"], ["tench", "crane bird", "crane"], closed=True) == [1, 0]


@pytest.mark.parametrize(
    ("names", "labels", "either"),
    [
        (["crane", "tench"], ["tench", "crane bird", "crane"], "1 ('crane bird') or 2 ('crane')"),
        (["crane", "Tench"], ["tench", "crane", "crane"], "1 ('crane') or 2 ('crane')"),
        (["cardigan", "ox"], ["Cardigan", "cardigan", "ox"], "0 ('Cardigan') or 1 ('cardigan')"),
        (["maillot", "maillot"], ["ox", "maillot", "maillot tank suit"], "1 ('maillot') or 2 ('maillot tank suit')"),
    ],
)
def test_a_name_that_may_be_either_of_two_classes_is_refused(names, labels, either):
    message = error_of(order_by_name, names, labels)
    assert message.startswith(
        f"'{names[0]}', its class 0, names two classes: of the model's labels it may be {either};"
    )


def test_a_longer_list_that_the_names_are_of_tells_two_classes_of_one_name_apart():
    longer, labels = ["crane bird", "hen", "crane"], ["crane", "Hen", "crane"]
    assert indices(["crane", "crane bird"], labels, closed=True, out_of=longer) == [2, 0]


def test_one_label_for_two_classes_of_the_data_is_refused():
    assert "'cat', its class 0, names two classes" in error_of(order_by_name, ["cat", "Cat"], ["dog", "cat", "ox"])


def test_labels_of_a_network_are_as_many_as_its_logits_and_names():
    network = Small()
    network.labels = ["a", "b", "c", "d", "e"]
    assert Classifier(network).labels == ("a", "b", "c", "d", "e")
    network.labels = ["a", "b"]
    assert error_of(Classifier, network).startswith("expected labels of the network to be 5 names, one for each logit")
    for other in (5, range(5), None, [1, 2], {}):  # something else of that name
        network.labels = other
        assert Classifier(network).labels == ()
