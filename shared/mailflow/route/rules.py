"""One pass of a tenant's transport rules over one copy of a message: order, AND/OR, stop, error action, forks."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.mailflow.route.conditions import (
    COMPANIONS,
    MESSAGE_TESTS,
    RECIPIENT_TESTS,
    Settings,
    cannot_be_told,
    values_of,
)
from shared.mailflow.route.model import LOOP, Copy, End, RecipientTest, Rule, Sight, Test
from shared.mailflow.rule_properties import ACTIONS, CONDITIONS

_EMPTY: tuple[Any, ...] = (None, "", [], ())
_TIMES = ("ActivationDate", "ExpiryDate")
_ADDING = ("AddToRecipients", "CopyTo", "BlindCopyTo")
_DEFAULT_STATUS = "5.7.1"
_EXCEPT = "ExceptIf"


def compile_rule(settings: Settings) -> Rule | None:
    """Return a rule as tests and actions; None for one that is off."""
    if str(settings.get("State") or "Enabled") == "Disabled" or settings.get("Enabled") is False:
        return None
    tests: dict[str, list[Any]] = {"": [], _EXCEPT: []}
    recipient_tests: dict[str, list[Any]] = {"": [], _EXCEPT: []}
    actions: dict[str, Any] = {}
    for name, value in settings.items():
        if value in _EMPTY or value is False:
            continue
        prefix, condition = (_EXCEPT, name[len(_EXCEPT) :]) if name.startswith(_EXCEPT) else ("", name)
        if condition in MESSAGE_TESTS:
            tests[prefix].append(MESSAGE_TESTS[condition](settings, value, prefix))
        elif condition in RECIPIENT_TESTS:
            recipient_tests[prefix].append(RECIPIENT_TESTS[condition](settings, value, prefix))
        elif name in ACTIONS:
            actions[name] = value
        elif (condition in CONDITIONS and condition not in COMPANIONS) or name in _TIMES:
            tests[prefix].append(cannot_be_told)
    if settings.get("RecipientAddressType") == "Original" and any(recipient_tests.values()):
        tests[""].append(cannot_be_told)  # who a message was written to is lost when recipients are found
    return Rule(
        str(settings["Name"]),
        str(settings.get("Mode") or "Enforce") == "Enforce",
        tuple(tests[""]),
        tuple(tests[_EXCEPT]),
        tuple(recipient_tests[""]),
        tuple(recipient_tests[_EXCEPT]),
        actions,
        stops=bool(settings.get("StopRuleProcessing")),
        defers=str(settings.get("RuleErrorAction") or "Ignore") == "Defer",
    )


@dataclass(frozen=True, slots=True)
class Passed:
    """A copy after the rules: it ended here ``by`` a rule, or goes on, by the connector ``route`` where one is named."""

    copy: Copy
    end: End | None = None
    status: str = ""
    route: str = ""
    by: str = ""


def apply_rules(sight: Sight, resolve: Callable[[Iterable[str]], tuple[str, ...]], counts: Counter[str]) -> list[Passed]:
    """Return the copies that come out of one pass. ``counts`` grows by each rule whose actions were applied.

    ``resolve`` finds whom a redirection or an added recipient stands for.
    """
    done: list[Passed] = []
    rules = sight.tenant.rules
    waiting = [(sight.copy, 0, "", False)]
    while waiting:
        copy, index, route, adds = waiting.pop()
        state = _State(sight, copy, route, adds, resolve, counts)
        while index < len(rules):
            rule = rules[index]
            index += 1
            sight.copy = state.copy
            chosen = _chosen(rule, sight)
            if not chosen or not rule.enforced:
                continue
            if len(chosen) < len(state.copy.recipients):
                rest = tuple(each for each in state.copy.recipients if each not in chosen)
                waiting.append((state.copy._replace(recipients=rest), index, state.route, state.adds))
                state.copy = state.copy._replace(recipients=chosen)
            ended = state.apply(rule)
            if ended is not None:
                done.append(ended)
                break
            if state.stopped:
                index = len(rules)
        else:
            done.append(state.passed())
    return done


def _chosen(rule: Rule, sight: Sight) -> tuple[str, ...]:
    """Return the recipients that the rule acts on: of all its conditions, and of no exception."""
    answer = _all_hold(rule.conditions, rule.exceptions, sight)
    if answer is False:
        return ()
    if not (rule.recipient_conditions or rule.recipient_exceptions):
        told = sight.oracle(f"rule:{rule.name}") if answer is None else True
        return sight.copy.recipients if told else ()
    return tuple(each for each in sight.copy.recipients if _recipient_holds(rule, sight, each, answer))


def _all_hold(conditions: Iterable[Test], exceptions: Iterable[Test], sight: Sight) -> bool | None:
    """Conditions AND, exceptions OR; None when it can't be told."""
    result: bool | None = True
    for test in conditions:
        held = test(sight)
        if held is False:
            return False
        result = None if held is None else result
    for test in exceptions:
        held = test(sight)
        if held is True:
            return False
        result = None if held is None else result
    return result


def _recipient_holds(rule: Rule, sight: Sight, recipient: str, so_far: bool | None) -> bool:
    answer = so_far
    tests: Iterable[tuple[RecipientTest, bool]] = [
        *((test, False) for test in rule.recipient_conditions),
        *((test, True) for test in rule.recipient_exceptions),
    ]
    for test, refusing in tests:
        held = test(sight, recipient)
        if held is refusing:
            return False
        answer = None if held is None else answer
    return sight.oracle(f"rule:{rule.name}") if answer is None else True


class _State:
    """A copy in the middle of a pass."""

    __slots__ = ("adds", "copy", "counts", "looped", "resolve", "route", "sight", "stopped")

    def __init__(
        self,
        sight: Sight,
        copy: Copy,
        route: str,
        adds: bool,
        resolve: Callable[[Iterable[str]], tuple[str, ...]],
        counts: Counter[str],
    ) -> None:
        self.sight, self.copy, self.route, self.adds = sight, copy, route, adds
        self.resolve, self.counts = resolve, counts
        self.stopped = False
        self.looped = LOOP in copy.headers

    def apply(self, rule: Rule) -> Passed | None:
        """Apply a rule's actions; return the copy's end when it ends here.

        A rule that can't be carried out does nothing: with Ignore the message goes on, with Defer it waits.
        """
        actions = rule.actions
        connector = self.sight.tenant.outbound.get(str(actions.get("RouteMessageOutboundConnector", "")).casefold())
        if "RouteMessageOutboundConnector" in actions and (connector is None or not connector.is_on):
            return Passed(self.copy, End.DEFERRED, by=rule.name) if rule.defers else None
        if self._adds(actions) and self.looped and self.sight.oracle("loop_header_survives"):
            return Passed(self.copy, End.REJECTED, "5.7.128", by=rule.name)
        self.counts[rule.name] += 1
        end, status = _ending(actions)
        if end is not None:
            return Passed(self.copy, end, status, by=rule.name)
        self._change_headers(actions)
        self._change_recipients(actions)
        if connector is not None:
            self.route = connector.name
        self.stopped = rule.stops
        return None

    def passed(self) -> Passed:
        """Return the copy after the last rule."""
        if self.adds:
            self.copy = self.copy._replace(headers={**self.copy.headers, LOOP: "1"})
        return Passed(self.copy, route=self.route)

    def _adds(self, actions: Mapping[str, Any]) -> bool:
        return "RedirectMessageTo" in actions or any(name in actions for name in _ADDING)

    def _change_headers(self, actions: Mapping[str, Any]) -> None:
        if "SetSCL" in actions:
            self.copy = self.copy._replace(scl=int(actions["SetSCL"]))
        removed, name = str(actions.get("RemoveHeader", "")).casefold(), str(actions.get("SetHeaderName", "")).casefold()
        prefix = actions.get("PrependSubject")
        if not (removed or name or prefix):
            return
        headers = {key: text for key, text in self.copy.headers.items() if key != removed}
        if name:
            headers[name] = str(actions.get("SetHeaderValue", ""))
        if prefix:
            headers["subject"] = f"{prefix}{headers.get('subject', self.sight.copy.message.subject)}"
        self.copy = self.copy._replace(headers=headers)

    def _change_recipients(self, actions: Mapping[str, Any]) -> None:
        if not self._adds(actions):
            return
        kept = () if "RedirectMessageTo" in actions else self.copy.recipients
        named = [address for name in ("RedirectMessageTo", *_ADDING) for address in values_of(actions.get(name, ()))]
        self.copy = self.copy._replace(recipients=tuple(dict.fromkeys([*kept, *self.resolve(named)])))
        self.adds = True


def _ending(actions: Mapping[str, Any]) -> tuple[End | None, str]:
    """Return how the actions end a message, if they do."""
    if "DeleteMessage" in actions:
        return End.DROPPED, ""
    if "RejectMessageReasonText" in actions or "RejectMessageEnhancedStatusCode" in actions:
        return End.REJECTED, str(actions.get("RejectMessageEnhancedStatusCode") or _DEFAULT_STATUS)
    if "Quarantine" in actions:
        return End.QUARANTINED, ""
    if "ModerateMessageByUser" in actions or "ModerateMessageByManager" in actions:
        return End.MODERATED, ""
    return None, ""
