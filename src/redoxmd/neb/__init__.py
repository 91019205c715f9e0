"""Barriers along paths of the mobile ions: climbing-image NEB with the ensemble, single points of the reference.

Import from the modules: `ends` (both ends of a path), `band` (the path between), `profile` (tables).
"""
