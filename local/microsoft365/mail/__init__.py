"""How Exchange Online carries a message: attribution, transport rules, filters, routing, the scanner and back.

`trace.outcome(document)` evaluates one message in one situation; it knows nothing of servers. PARITY.md says what is like
Microsoft's. Nothing here is shared with the product's own model of the same.
"""
