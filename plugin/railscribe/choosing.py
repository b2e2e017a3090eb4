"""Which policy judges: references looked up in files and in the registry, and kept at hand for a while.

Rules

1. One reference has one meaning, wherever it stands: a file by its ending, else a ready policy by its name, else
   what the registry knows (:mod:`railscribe.policy.reference`). Files and ready policies need no store.
2. Files are read once. What the registry said is asked again when it is older than ``policy_refresh_s``, so a
   moved tag counts from then on, without a restart. A whole digest always names the same policy and is asked once.
3. Where the store cannot be asked, what it last said goes on counting: a decision cannot be released without
   it anyhow. With nothing at hand there is no policy, and whoever asked fails closed.
4. While one thread asks, others take what is at hand, if there is any.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from railscribe.audit import AuditStore, PolicyRegistry, open_store
from railscribe.errors import AuditError, PolicyError
from railscribe.policy import Policy, load_policy
from railscribe.policy.load import is_loadable
from railscribe.policy.reference import parse_reference
from railscribe.settings import Settings

logger = logging.getLogger(__name__)

_WHOLE = 64  # digits of a digest


def find_policy(
    reference: str, registry: Callable[[], PolicyRegistry], *, tenant: str | None = None
) -> Policy:
    """Return the policy that *reference* means for *tenant* (rule 1); *registry* is called only where it is needed.

    Raises:
        PolicyError: there is none, more than one, or it holds mistakes.
        AuditError: the registry was needed and could not be read.
    """
    asked = None if is_loadable(reference) else parse_reference(reference)
    if asked is None:
        return load_policy(reference)
    try:
        return registry().resolve(asked, tenant=tenant)
    except PolicyError:
        if "@" in reference or asked.digest:
            raise
        return load_policy(reference)  # a misspelt name, most likely: it says which are near


def open_policy(reference: str, settings: Settings) -> Policy:
    """Return what :func:`find_policy` does, with the store of *settings*, opened only where it is needed.

    Raises:
        PolicyError: there is none, more than one, or it holds mistakes.
        AuditError: the registry was needed and could not be read.
    """
    if is_loadable(reference) or parse_reference(reference) is None:
        return load_policy(reference)
    with open_store(settings) as store:
        return find_policy(reference, lambda: PolicyRegistry(store))


def refuse_unloadable(reference: str) -> None:
    """Read *reference* where that needs no store, so that its mistakes show before a store is opened.

    Raises:
        PolicyError: there is no such file or name, or it holds mistakes.
    """
    if is_loadable(reference) or parse_reference(reference) is None:
        load_policy(reference)


@dataclass(frozen=True, slots=True)
class _Known:
    policy: Policy
    until: float
    """On the monotonic clock."""


class KnownPolicies:
    """Policies by reference and tenant, as they were last found; safe to use from several threads."""

    def __init__(self, store: AuditStore, *, refresh_s: float) -> None:
        self._registry = PolicyRegistry(store)
        self._refresh_s = refresh_s
        self._known: dict[tuple[str, str | None], _Known] = {}
        self._asking: dict[tuple[str, str | None], Lock] = {}
        self.seen: dict[str, Policy] = {}
        """Every policy that was found so far, by digest: each is kept once, whoever it is for."""

    def at_hand(self, reference: str, tenant: str | None = None) -> Policy | None:
        """Return what *reference* means, if that is known and not too old; touches nothing outside."""
        known = self._known.get((reference, tenant))
        return known.policy if known is not None and time.monotonic() < known.until else None

    def last(self, reference: str) -> Policy:
        """Return what *reference* was last found to mean; touches something outside only the first time.

        Raises:
            RailscribeError: as :meth:`find`, the first time.
        """
        known = self._known.get((reference, None))
        return self.find(reference) if known is None else known.policy

    def find(self, reference: str, tenant: str | None = None) -> Policy:
        """Return what *reference* means for *tenant*. May read files and the store: not for an event loop.

        Raises:
            PolicyError: it means nothing, or more than one policy.
            AuditError: the store could not be read, and nothing is at hand (rule 3).
        """
        key = (reference, tenant)
        known = self._known.get(key)
        asking = self._asking.setdefault(key, Lock())
        # One that is far too old is worth waiting for.
        usable = known is not None and time.monotonic() < known.until + self._refresh_s
        if not asking.acquire(blocking=not usable) and known is not None:
            return known.policy  # rule 4
        try:
            return self.at_hand(reference, tenant) or self._ask(key, known)
        finally:
            asking.release()

    def _ask(self, key: tuple[str, str | None], known: _Known | None) -> Policy:
        reference, tenant = key
        try:
            policy = find_policy(reference, lambda: self._registry, tenant=tenant)
        except AuditError as error:
            if known is None:
                raise
            logger.warning("The policy %s stays as it was last known: %s", reference, error)
            policy = known.policy
        policy = self.seen.setdefault(policy.digest, policy)
        asked = None if is_loadable(reference) else parse_reference(reference)
        fixed = asked is None or len(asked.digest or "") == _WHOLE
        until = float("inf") if fixed else time.monotonic() + self._refresh_s
        self._known[key] = _Known(policy, until)
        return policy
