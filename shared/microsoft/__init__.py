"""The only place that speaks to Microsoft: sign-in, tokens, Graph and Exchange, behind the protocols of ``shared.ports``."""
