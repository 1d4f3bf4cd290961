"""The explorers where they are used: JupyterLab in headless Chromium, a notebook run, a slider moved by keyboard."""

import base64
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest
from chromium import CHROMIUM, DRIVER, browser
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from advlook.study.folders import ROOT

LAB_SETTINGS = {  # cells out of sight are drawn too; nothing is asked of the network
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}
IDLE = """
const notebook = window.jupyterapp?.shell.currentWidget;
return notebook?.context?.isReady && notebook.context.sessionContext.session?.kernel?.status === "idle";
"""
FAILURES = """
const cells = window.jupyterapp.shell.currentWidget.model.sharedModel.toJSON().cells;
return cells.flatMap(cell => cell.outputs ?? []).filter(o => o.output_type === "error").map(o => o.evalue);
"""
LOADED = "return arguments[0].querySelector('img.widget-image')?.naturalWidth > 0"
CONTENT = """
const [image, done] = arguments;
fetch(image.src).then(answer => answer.blob()).then(blob => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(blob);
});
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on the PATH; Debian: chromium, chromium-driver"
)
@pytest.mark.parametrize("notebook", ["03_visualize"])
def test_a_slider_changes_the_picture(notebook, tmp_path):
    """All cells of a copy are run in a live kernel; the arrow key moves a slider, and another picture appears."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / f"{notebook}.ipynb", tmp_path / "notebooks")
    with jupyter(tmp_path) as (address, token), browser(tmp_path) as window:
        window.get(f"{address}/lab/tree/{notebook}.ipynb?token={token}")
        until(window, lambda: window.execute_script(IDLE), seconds=120)
        window.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        explorer = until(window, lambda: explorers(window), seconds=600)[0]  # models may have to be trained first
        before = picture(window, explorer)
        slider = explorer.find_element(By.CSS_SELECTOR, ".widget-slider .noUi-handle")
        value = slider.get_attribute("aria-valuenow")
        slider.send_keys(Keys.ARROW_RIGHT)
        assert float(slider.get_attribute("aria-valuenow")) > float(value)
        after = until(window, lambda: (now := picture(window, explorer)) != before and now, seconds=60)
        assert before.startswith(b"\x89PNG")
        assert after.startswith(b"\x89PNG")
        until(window, lambda: window.execute_script(IDLE), seconds=300)
        assert window.execute_script(FAILURES) == []


def explorers(window):
    """The explorers whose picture is there; fails where a cell of the notebook did."""
    assert window.execute_script(FAILURES) == []
    found = window.find_elements(By.CSS_SELECTOR, ".advlook-explorer")
    return [explorer for explorer in found if window.execute_script(LOADED, explorer)]


def picture(window, explorer):
    """The bytes of an explorer's picture."""
    image = explorer.find_element(By.CSS_SELECTOR, "img.widget-image")
    return base64.b64decode(window.execute_async_script(CONTENT, image).partition(",")[2])


def until(window, condition, seconds):
    """What the condition gives as soon as that is true; TimeoutException where it never is."""
    return WebDriverWait(window, seconds, 0.2).until(lambda _: condition())


@contextmanager
def jupyter(folder):
    """A JupyterLab with settings of its own that writes under `folder`: its address and its token."""
    for name, content in LAB_SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(content)
    places = {
        "ADVLOOK_OUTPUT": "figures",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    environment["ADVLOOK_PRESET"] = "smoke"
    for unwanted in ("ADVLOOK_LIVE", "ADVLOOK_PLAIN_PROGRESS", "JPY_SESSION_NAME"):
        environment.pop(unwanted, None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, log = secrets.token_hex(16), folder / "jupyter.log"
    address = f"http://127.0.0.1:{port}"
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder / 'notebooks'}",
        "--LabApp.expose_app_in_browser=True",
    ]
    with log.open("w") as file:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 120
        while not is_up(f"{address}/api/status?token={token}"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address, token
    finally:
        server.send_signal(signal.SIGTERM)  # so that it ends its kernels first
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def is_up(address):
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False
