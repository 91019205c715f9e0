"""Barriers along paths of the mobile ions: climbing-image NEB with the ensemble, single points of the reference.

Import from the modules: `ends` (both ends of a path), `event` (ends from production), `band` (the path between),
`profile` (tables), `run` (one path as a job finds it), `explore` (images as candidates for labels).
"""
