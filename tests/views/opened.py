"""A page as headless Chromium shows it."""

import html
import json
import re
import subprocess


def opened(browser, page, *options, metric=None):
    """The page's elements after its script ran, opened with a metric, and what the console said."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    address = page.as_uri() + (f"#{metric}" if metric else "")
    command += ["--virtual-time-budget=5000", "--window-size=1200,2000", *options, address]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
    said = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    return ran.stdout, said


def drawn_in(elements):
    return json.loads(html.unescape(re.search(r'data-drawn="([^"]*)"', elements)[1]))
