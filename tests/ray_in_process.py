"""Ray's calls as attnlab makes them, in this process: workers answer at once, and are lost where a test says."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError


@dataclass(eq=False)
class Call:
    """What a worker will answer: not there at the first `late` looks."""

    answer: Callable[[], Any]
    late: int = 0


class Answers:
    """What a streaming call answers, one call after the other."""

    def __init__(self, actor: "Actor", answers: Iterator[Any]) -> None:
        self.actor, self.answers = actor, answers

    def __next__(self) -> Call:
        try:
            answer = next(self.answers)
            self.actor.cluster.step(self.actor)  # what is lost had been done
        except StopIteration:
            raise
        except Exception as error:
            return Call(_raising(error))
        return Call(lambda: answer)


@dataclass
class Method:
    """A method of an actor."""

    actor: "Actor"
    name: str

    def options(self, **_: object) -> "Method":
        return self

    def remote(self, *given: Any) -> Call | Answers:
        if self.name == "compute":
            return Answers(self.actor, self.actor.worker.compute(*given))
        return self.actor.cluster.call(self.actor, lambda: getattr(self.actor.worker, self.name)(*given))


class Actor:
    """A worker; `coming` is what calls behind a loss find until it is there again: late, unavailable or dead."""

    def __init__(self, cluster: "Cluster", made: Callable[[], Any]) -> None:
        self.cluster, self.made = cluster, made
        self.worker, self.coming = made(), []

    def __getattr__(self, name: str) -> Method:
        return Method(self, name)


@dataclass
class Cluster:
    """A machine with two cores, on which a worker is lost at the answers whose numbers are keys of `losses`.

    Each value says what calls to that worker find from then on, see `Actor`.
    """

    losses: dict[int, list[str]] = field(default_factory=dict)
    killed: list[Actor] = field(default_factory=list)
    answered: int = 0
    order: random.Random = field(default_factory=lambda: random.Random(0))

    def step(self, actor: Actor) -> None:
        """Count an answer, and lose the worker at it where that is said."""
        self.answered += 1
        if (coming := self.losses.get(self.answered)) is not None:
            actor.worker, actor.coming = actor.made(), list(coming)
            raise ActorDiedError

    def call(self, actor: Actor, answer: Callable[[], Any]) -> Call:
        if not actor.coming:
            return Call(_answer_or_error(answer))
        found = actor.coming[0] if actor.coming[0] == "dead" else actor.coming.pop(0)
        if found == "late":
            return Call(answer, late=1)
        return Call(_raising(ActorDiedError() if found == "dead" else ActorUnavailableError("not yet", b"0" * 16)))

    def wait(self, calls: list[Any], num_returns: int = 1, timeout: float = 0) -> tuple[list[Any], list[Any]]:
        ready = [call for call in calls if not getattr(call, "late", 0)]
        for call in calls:
            call.late = max(0, getattr(call, "late", 0) - 1)
        chosen = ready if num_returns > 1 else self.order.sample(ready, min(1, len(ready)))
        return chosen, [call for call in calls if call not in chosen]

    def remote(self, **_: object) -> Callable[[type], Any]:
        """What `ray.remote(...)` gives: a class's actors are made by its `remote`."""

        def of(cls: type) -> Any:
            return type("Actors", (), {"remote": lambda *given: Actor(self, lambda: cls(*given))})

        return of

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 2.0}}]


def _raising(error: Exception) -> Callable[[], Any]:
    def answer() -> Any:
        raise error if isinstance(error, ray.exceptions.RayError) else RayTaskError("method", "", error)

    return answer


def _answer_or_error(answer: Callable[[], Any]) -> Callable[[], Any]:
    try:
        found = answer()
    except Exception as error:
        return _raising(error)
    return lambda: found


def in_process(monkeypatch: pytest.MonkeyPatch, **losses: Any) -> Cluster:
    """Have Ray's calls answered by such a cluster, to which this process is connected already."""
    cluster = Cluster(**losses)
    for name in ("wait", "remote", "nodes"):
        monkeypatch.setattr(ray, name, getattr(cluster, name))
    monkeypatch.setattr(ray, "get", lambda call: call.answer())
    monkeypatch.setattr(ray, "kill", cluster.killed.append)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    for module in ("ray_engine", "ray_cluster"):
        monkeypatch.setattr(f"attnlab.pipelines.{module}.sleep", lambda _seconds: None)
    return cluster
