"""The alert rules, evaluated in the house itself: which fire now; a line when one begins or ends.

In:   the registry's samples now and then; the time.
Out:  alerts that are pending or fire, for the status; lines in the log.
Why: trouble is told without a Prometheus too, and `hypernode status` shows what it would say.
Not covered: what happened before this process began; `up`, which only who looks from outside knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from prometheus_client.core import Metric

from coordinator.alerts import RULES, Rule
from coordinator.log import get_log
from coordinator.promql import Expression, parse
from coordinator.promql_values import History, Labels, Moment

log = get_log(__name__)

#: Between two looks.
LOOK_EVERY_S: Final = 10.0
#: The longest range of a rule, and one look more.
KEEP_S: Final = 900.0 + 2 * LOOK_EVERY_S


class Alarm(NamedTuple):
    """A rule whose expression holds."""

    rule: Rule
    #: Seconds that it has held.
    for_s: float
    is_firing: bool


class Registry(Protocol):
    """What of a registry is used here."""

    def collect(self) -> Iterable[Metric]: ...


class Alarms:
    """Looks at one registry."""

    def __init__(
        self,
        registry: Registry,
        also: Collection[Expression] = (),
        rules: Sequence[Rule] = RULES,
    ) -> None:
        """Watch a registry.

        Args:
            registry: Gives the samples.
            also: Expressions that `ask` will be asked: what they name is remembered too.
            rules: What to look for.
        """
        self._registry = registry
        self._rules: list[tuple[Rule, Expression]] = [
            (rule, parse(rule.expression)) for rule in rules
        ]
        asked = [*also, *(expression for _, expression in self._rules)]
        self._names = frozenset[str]().union(*(expression.names for expression in asked))
        self._history = History(KEEP_S)
        #: Since when each rule's expression holds.
        self._since: dict[str, float] = {}
        self._fired: set[str] = set()
        self._now_s = 0.0

    def look(self, now_s: float) -> None:
        """Take samples, evaluate every rule, say what has changed.

        Args:
            now_s: Unix time, seconds; never less than at the look before.
        """
        self._now_s = max(now_s, self._now_s)
        self._history.add(self._now_s, self._samples())
        moment = Moment(self._history, self._now_s)
        for rule, expression in self._rules:
            if not expression.evaluate(moment):
                self._since.pop(rule.name, None)
            else:
                self._since.setdefault(rule.name, self._now_s)
        self._say()

    def _samples(self) -> dict[str, dict[Labels, float]]:
        found: dict[str, dict[Labels, float]] = {}
        for family in self._registry.collect():
            for sample in family.samples:
                if sample.name in self._names:
                    labels = frozenset(sample.labels.items())
                    found.setdefault(sample.name, {})[labels] = sample.value
        return found

    def ask(self, expression: Expression) -> float:
        """The one number that an expression gives now; NaN if it gives none."""
        found = expression.evaluate(Moment(self._history, self._now_s))
        if isinstance(found, dict):
            return next(iter(found.values()), float("nan"))
        assert isinstance(found, float)
        return found

    def alarms(self) -> list[Alarm]:
        """What holds now: what fires first, then what is pending."""
        return sorted(self._alarms(), key=lambda alarm: (not alarm.is_firing, alarm.rule.severity))

    def _alarms(self) -> Iterator[Alarm]:
        for rule, _ in self._rules:
            since = self._since.get(rule.name)
            if since is not None:
                for_s = self._now_s - since
                yield Alarm(rule, for_s, for_s >= rule.for_s)

    def _say(self) -> None:
        firing = {alarm.rule.name: alarm.rule for alarm in self._alarms() if alarm.is_firing}
        for name, rule in firing.items():
            if name not in self._fired:
                tell = log.error if rule.severity == "critical" else log.warning
                tell("alert begins", alert=name, summary=rule.summary, page=rule.page)
        for name in sorted(self._fired - firing.keys()):
            log.info("alert ends", alert=name)
        self._fired = set(firing)
