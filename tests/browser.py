"""A headless Chromium that reaches no network."""

import shutil
import time

import pytest
from selenium import webdriver

LIMIT_S = 60
PROGRAMS = ("chromium", "chromedriver")
# WebGL by software, no names resolved.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--window-size=1200,900",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

needs_browser = pytest.mark.skipif(
    any(shutil.which(name) is None for name in PROGRAMS),
    reason="no browser here (Debian: apt-get install chromium chromium-driver)",
)


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def until(true):
    """Wait for something to hold; gives its value."""
    deadline = time.monotonic() + LIMIT_S
    while not (value := true()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.2)
    return value


def errors(driver):
    """What the page complained of."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
