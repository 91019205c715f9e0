"""Figures saved once for all tests of a module."""

import pytest

from redoxmd.figures.save import save_figure


@pytest.fixture(scope="module")
def saved(request, tmp_path_factory):
    """Path without suffix of the figure `name` that the module draws from data of a kind; each is saved once."""
    folder, module = tmp_path_factory.mktemp("figures"), request.module

    def path_of(name, kind):
        path = folder / f"{name}_{kind}"
        if not path.with_suffix(".csv").exists():
            save_figure(module.drawn(name, kind), module.DATA, path, module.STYLE)
        return path

    return path_of
