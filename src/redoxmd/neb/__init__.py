"""Barriers along paths of the mobile ions: climbing-image NEB with the ensemble, single points of the reference.

Import from the modules: `ends` (both ends of a path), `event` (ends from production), `band` (the path between them),
`profile` (tables), `run` (one path in a job), `explore` (images as candidates for labels).
"""
