import numpy as np
import pytest
from selenium.webdriver import ActionChains

from benchmarks.works import STARTER_FRAMES
from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.diffusion.scene import MOST_FRAMES, WINDOW_FS, jump_scene
from redoxmd.diffusion.visited import visit_density
from redoxmd.figures.jump_view import draw_page, enclosing_level
from redoxmd.files.frames import read_frames
from redoxmd.files.trajectory import Trajectory
from tests.browser import browser, errors, needs_browser, until

__all__ = ["browser"]

FRAMES, JUMP_AT = 400, 200
STEP_A = np.array([2.5, 2.4, 1.0])


def trajectory(jumps=True, drift_A=0.0):
    """NVP at rest but for a shiver, a drift of the whole, and one Na that moves between two places in 200 fs."""
    atoms = read_frames(STARTER_FRAMES)[0]
    rng = np.random.default_rng(0)
    positions = np.repeat(atoms.positions[None], FRAMES, axis=0)
    positions += 0.05 * rng.standard_normal(positions.shape)
    ion = int(np.flatnonzero(atoms.numbers == 11)[0])
    if jumps:
        positions[:, ion] += np.clip((np.arange(FRAMES) - JUMP_AT) / 20, 0, 1)[:, None] * STEP_A
    positions += drift_A * np.linspace(0, 1, FRAMES)[:, None, None]
    about = {"mobile_ion": "Na", "x": 3.0, "temperature_K": 900.0, "replica": 0}
    zeros = np.zeros(FRAMES)
    time_fs = 10.0 * np.arange(FRAMES)
    cell = np.asarray(atoms.cell)
    return Trajectory(atoms.numbers, positions, cell, np.arange(FRAMES), time_fs, zeros, zeros, zeros, about), ion


def scene_of(*trajectories):
    analyses = [analyse_trajectory(item, Diffusion(), 1) for item in trajectories]
    return jump_scene(analyses, lambda number: trajectories[number])


def test_the_trajectory_with_jumps_is_shown_around_one():
    (still, _), (moved, ion) = trajectory(jumps=False), trajectory(drift_A=7.0)
    scene = scene_of(still, moved)
    assert scene.jumping == [ion]
    assert len(scene.time_fs) <= MOST_FRAMES
    assert np.abs(scene.time_fs).max() <= WINDOW_FS
    path = scene.positions_A[:, ion]
    assert np.linalg.norm(path[-1] - path[0]) == pytest.approx(np.linalg.norm(STEP_A), abs=0.3)
    # The framework stands still, everything lies in the box halfway through.
    others = scene.numbers != 11
    assert np.abs(scene.positions_A[:, others] - scene.positions_A[0, others]).max() < 0.5
    fractional = (scene.positions_A[len(path) // 2] - scene.origin_A) @ np.linalg.inv(scene.cell_A)
    assert ((fractional >= 0) & (fractional < 1)).all()


def test_without_a_jump_the_whole_trajectory_is_shown():
    scene = scene_of(trajectory(jumps=False)[0])
    assert scene.jumping == []
    assert scene.time_fs[[0, -1]].tolist() == [0.0, 10.0 * (FRAMES - 1)]


def test_density_of_visits_is_a_probability_with_its_peaks_where_ions_are():
    cell = np.array([[8.0, 0.5, 0.0], [0.0, 9.0, 1.0], [1.0, 0.0, 7.0]])
    places = np.array([[0.5, 0.5, 0.5], [7.9, 8.8, 7.6]])
    density = visit_density(np.repeat(places[None], 50, axis=0) + 3 * cell[0], cell, 0.3)
    assert density.sum() * abs(np.linalg.det(cell)) / density.size == pytest.approx(1)
    for place in places:
        fractional = place @ np.linalg.inv(cell)
        here = tuple(np.floor((fractional % 1) * density.shape).astype(int))
        around = tuple(slice(max(i - 1, 0), i + 2) for i in here)
        assert density[here] == density[around].max() > 0.25 * density.max()


def test_a_level_encloses_its_share():
    density = np.array([[[5.0, 3.0], [1.5, 0.5]]])
    assert enclosing_level(density, 0.8) == 3.0
    assert enclosing_level(density, 0.81) == 1.5
    assert enclosing_level(np.zeros((2, 2, 2))) == 1.0


@needs_browser
def test_the_page_can_be_turned_and_played_without_a_network(browser, tmp_path):
    page = tmp_path / "jump.html"
    page.write_text(draw_page(scene_of(trajectory()[0])), encoding="utf-8")
    browser.get(page.as_uri())
    until(lambda: browser.execute_script("return document.body.dataset.ready"))
    assert errors(browser) == []
    seen = browser.find_element("id", "view").screenshot_as_png
    view = browser.execute_script("return viewer.getView()")

    canvas = browser.find_element("css selector", "#view canvas")
    ActionChains(browser).move_to_element(canvas).click_and_hold().move_by_offset(120, 40).release().perform()
    assert browser.execute_script("return viewer.getView()") != view
    turned = browser.find_element("id", "view").screenshot_as_png
    assert turned != seen

    browser.find_element("id", "visits").click()
    assert browser.find_element("id", "view").screenshot_as_png != turned
    clock = browser.find_element("id", "clock").text
    browser.find_element("id", "play").click()
    until(lambda: browser.find_element("id", "clock").text != clock)
    browser.find_element("id", "play").click()
    assert errors(browser) == []
