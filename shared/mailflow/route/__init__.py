"""A pure model of how Exchange Online routes one message: connectors' attribution, rules, filters, the scanner and back.

It answers what a change of the mail flow does to messages before it is made. It follows Microsoft's documents and knows nothing
of the simulated tenant, whose evaluator was written separately; docs/mail-traces.md says what both must do.
"""
