"""Training: defences, and the terms of the losses they descend."""

from attnlab.training.defense import Defense

#: name -> settings, each also with +aad; a new defence is one more line. Weights as published.
DEFENSES: dict[str, Defense] = {
    "none": Defense("clean"),
    "madry": Defense("adversarial"),
    "alp": Defense("alp", weight=0.5),
    "trades": Defense("trades", weight=6.0, objective="divergence"),
    "mart": Defense("mart", weight=5.0),
    "stepll": Defense("mixed", objective="least-likely", single_step=True),
    "ensemble": Defense("mixed", objective="least-likely", single_step=True, ensemble=True),
}
