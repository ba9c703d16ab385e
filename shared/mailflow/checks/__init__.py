"""The checks of a tenant before anything is changed in it, as data: what each reads, what it makes of it, and what helps.

``finding`` has the shapes, ``catalogue`` every check and what they come to together; each other module judges one concern. Pure.
"""
