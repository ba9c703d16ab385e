"""The mail flow as data: which objects Grantline wants in a tenant, what differs, in which order it is put right. Pure.

The plan that operators see, the route model (``route``), the checks (``checks``) and undo stand on these modules.
"""
