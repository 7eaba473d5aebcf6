"""Which of a network's logits stands for which class of a data set, where both name them."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from attnlab.errors import UserError

WNID = re.compile(r"n\d{8}\b")
#: torchvision's names of the second class of ImageNet that is called crane, and of that called maillot
TWINS = {"crane bird": "crane", "maillot tank suit": "maillot"}
ADVICE = "name the classes of both alike, in a classes.txt or the network's `labels`"


class ClassOrder(NamedTuple):
    """The logits of a network in the order of a data set's classes.

    Attributes:
        indices: Of the network's logits, first those of the data's classes; empty where they are in order already.
        note: What a user should know of it; empty where every name is the same at the same place.
    """

    indices: tuple[int, ...] = ()
    note: str = ""


class Name(NamedTuple):
    """A class's name in the forms that are compared."""

    text: str
    wnid: str  # WordNet id at its begin, or empty
    cased: str  # the first synonym behind it, as written
    line: str  # all synonyms, without case, hyphens and underscores
    first: str  # the first of these

    @classmethod
    def of(cls, text: str) -> "Name":
        """Read `n01440764 tench, Tinca tinca`, or a part of it."""
        found = WNID.match(text.strip())
        wnid = found[0] if found else ""
        line = re.sub(r"[\s_-]+", " ", text.strip()[len(wnid) :]).strip(" ,:") or wnid
        cased = line.partition(",")[0].strip()
        first = cased.casefold()
        return cls(text, wnid, cased, line.casefold(), TWINS.get(first, first))

    def may_be(self, other: "Name") -> bool:
        """Whether both can be of one class."""
        return self.wnid == other.wnid if self.wnid and other.wnid else self.first == other.first


def said_labels(network: object) -> tuple[str, ...]:
    """What a network's attribute `labels` calls its logits; empty where it is no names."""
    said = getattr(network, "labels", None)
    if not isinstance(said, list | tuple) or not all(isinstance(name, str) for name in said):
        return ()
    return tuple(said)


def labels_of(network: object, classes: int) -> tuple[str, ...]:
    """The same, of a network of so many logits."""
    said = said_labels(network)
    if said and len(said) != classes:
        raise UserError(
            f"expected labels of the network to be {classes} names, one for each logit, got {len(said)}, such as "
            f"{said[0]!r}; list them in the order of the logits, or leave labels out"
        )
    return said


def order_by_name(
    names: Sequence[str], labels: Sequence[str], *, closed: bool = False, out_of: Sequence[str] = ()
) -> ClassOrder:
    """Match a data set's class names with as many of a network's labels, or with some of more.

    Names are compared without case, underscores, hyphens and all but their first synonym. One that two classes have, as
    `crane` in ImageNet, is decided by the WordNet id, the whole line of synonyms, or the case. The network's classes
    that the data do not have follow, sorted by name; `closed` leaves them out. As many labels as names, of which none
    is found at another place, are taken as they stand. `out_of` is a longer list that the names are of, each once in
    it: then it is what is matched with as many labels.

    Raises:
        UserError: If some names are found at another place and some nowhere, or a name means two classes.
    """
    wanted, known = [Name.of(text) for text in names], [Name.of(text) for text in labels]
    if len(wanted) == len(known):
        apart = [at for at, pair in enumerate(zip(wanted, known, strict=True)) if not pair[0].may_be(pair[1])]
        if not any(wanted[at].may_be(known[other]) for at in apart for other in apart):
            return ClassOrder(note=_differences(apart, wanted, known))
    if len(out_of) == len(known):
        whole = order_by_name(out_of, labels).indices or range(len(known))
        order = [whole[list(out_of).index(name)] for name in names]
    else:
        order = _places(wanted, known)
    rest = sorted(set(range(len(known))) - set(order), key=lambda at: (known[at].line, at))
    moved = sum(at != place for at, place in enumerate(order))
    if not rest:
        return ClassOrder(tuple(order), f"{moved} of {len(order)} classes stand at another place: matched by name")
    others = "logits of others are left out" if closed else "an image may be predicted a class that they do not have"
    note = f"the data have {len(order)} of the model's {len(known)} classes, matched by name: {others}"
    return ClassOrder((*order, *(() if closed else rest)), note)


def _differences(apart: Sequence[int], names: Sequence[Name], labels: Sequence[Name]) -> str:
    """What to say of names that are others at the same places."""
    if not apart:
        return ""
    which = f"all {len(names)}" if len(apart) == len(names) else f"{len(apart)} of {len(names)}"
    first = f"{names[apart[0]].text!r} of the data and {labels[apart[0]].text!r} of the model"
    return f"{which} class names differ, such as {first}: labels are taken as indices"


def _places(names: Sequence[Name], labels: Sequence[Name]) -> list[int]:
    """Place of each name among the labels; an error where it has none, or may have several."""
    cased = any(name.cased != name.cased.lower() for name in names)
    near = [_near(name, labels, cased=cased) for name in names]
    taken = Counter(places[0] for places in near if len(places) == 1)
    near = [places if len(places) == 1 else [at for at in places if at not in taken] or places for places in near]
    missing = next((at for at, places in enumerate(near) if not places), None)
    if missing is not None:
        nowhere = f"{names[missing].text!r}, its class {missing}, is none of the model's labels"
        found = next((at for at, places in enumerate(near) if len(places) == 1), None)
        if found is not None:
            nowhere += f", though {names[found].text!r}, its class {found}, is label {near[found][0]}"
        raise UserError(f"{nowhere} ({', '.join(label.text for label in labels[:3])}, ...); {ADVICE}")
    places = [at for here in near for at in here]
    twice = next((at for at, here in enumerate(near) if len(here) > 1 or places.count(here[0]) > 1), None)
    if twice is not None:
        raise UserError(
            f"{names[twice].text!r}, its class {twice}, names two classes: of the model's labels it may be "
            f"{' or '.join(f'{at} ({labels[at].text!r})' for at in near[twice])}; {ADVICE}"
        )
    return places


def _near(name: Name, labels: Sequence[Name], *, cased: bool) -> list[int]:
    """Places of the labels that a name can mean; `cased` where capitals tell names of the data apart."""
    near = [at for at, label in enumerate(labels) if name.may_be(label)]
    if len(near) > 1 and name.line != name.first:
        near = [at for at in near if labels[at].line == name.line] or near
    if len(near) > 1 and cased and len({labels[at].cased.casefold() for at in near}) == 1:
        near = [at for at in near if labels[at].cased == name.cased] or near
    return near
