"""The counters of the Dashboard: a timer counts the accounts by state, the Dashboard shows what it counted and when."""

from shared.ports import Accounts, Clock


async def count_accounts(accounts: Accounts, clock: Clock) -> None:
    """Count the accounts by state and keep the result with the time at which the counting began."""
    at = clock()
    await accounts.keep_counts(await accounts.count(), at)
