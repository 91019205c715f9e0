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


def results_of_report(driver, page):
    """Open every result of a report of Snakemake: its label, and whether an image came up or a page."""
    shown = {}
    driver.get(page.as_uri())
    until(lambda: driver.execute_script("return typeof categories === 'object' && document.body.innerText.length > 20"))
    names = driver.execute_script("return Object.keys(categories)")
    for name in names:
        driver.get(page.as_uri())
        until(lambda name=name: driver.find_elements("link text", name))[0].click()
        rows = until(lambda: driver.find_elements("css selector", "table tbody tr"))
        for row in rows:
            label = row.text.strip()
            row.find_element("css selector", "a[iconname=eye]").click()
            shown[label] = until(lambda label=label: _shown(driver, label))
    return shown


# A view says so when it is drawn; a page of text is there with its heading.
READY = "return document.body && (document.body.dataset.ready || document.querySelector('h1'))"


def _shown(driver, label):
    """How the result of a name, which its file has too, is shown; None as long as it is not."""
    selector = f"[src*='filename={label}.']"
    for image in driver.find_elements("css selector", f"img{selector}"):
        return "image" if driver.execute_script("return arguments[0].naturalWidth", image) else None
    for page in driver.find_elements("css selector", f"iframe{selector}"):
        driver.switch_to.frame(page)
        try:
            return "page" if driver.execute_script(READY) else None
        finally:
            driver.switch_to.default_content()
    return None
