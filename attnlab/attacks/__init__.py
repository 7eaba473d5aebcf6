"""Attacks: named settings of the one loop in `pgd`."""

from attnlab.attacks.pgd import Attack

#: name -> settings; a new attack is one more line
ATTACKS: dict[str, Attack] = {
    "fgsm": Attack(objective="cross-entropy"),
    "stepll": Attack(objective="least-likely"),
    "iter-stepll": Attack(objective="least-likely", steps=10),
    "pgd": Attack(objective="cross-entropy", steps=40, random_start=True),
    "cw": Attack(objective="margin", steps=40, random_start=True),
}
