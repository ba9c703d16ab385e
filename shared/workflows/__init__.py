"""What each step does: a coroutine function from a run to an outcome."""
