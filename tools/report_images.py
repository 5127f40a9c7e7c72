"""Takes the pictures of docs/images anew: the guide's network with one residual scale mistyped, in Chromium.

    python -m tools.report_images [PAGE]

PAGE is a page that `lockstep check --html` wrote; without one the check is run, which takes minutes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
CULPRIT = "#map/inference/InceptionResnetV2/Repeat_1/block17_7/mul"


def main() -> None:
    """Writes the pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = Path(sys.argv[1]) if len(sys.argv) > 1 else _checked(Path(folder) / "report.html")
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme, name, fragment, selector in (
            ("light", "report_light.png", "", None),
            ("light", "report_culprit.png", "#culprit-1", "#culprit-1"),
            ("dark", "report_dark.png", CULPRIT, None),
        ):
            shown = browser.new_page(viewport={"width": 1180, "height": 860}, color_scheme=scheme)
            shown.goto(f"{page.resolve().as_uri()}{fragment}")
            shown.wait_for_timeout(500)
            _take(shown, IMAGES / name, selector)
        browser.close()


def _take(page: Page, target: Path, selector: str | None) -> None:
    if selector is None:
        page.screenshot(path=target)
        return
    page.evaluate("document.querySelector('.bar').remove()")  # it stays on top of what is scrolled beneath it
    page.locator(selector).screenshot(path=target)


def _checked(target: Path) -> Path:
    from benchmarks.zoo.families.inception_resnet_v2 import shim

    import lockstep
    from lockstep import config

    folder = ROOT / "examples" / "inception_resnet_v2"
    settings = config.read(folder / "lockstep.toml")
    report = lockstep.verify(
        config.subject_from_configuration(settings, "reference"),
        lockstep.keras(lambda: shim.build({"block17_7_scale"})),
        config.make_inputs(settings),
        gradients=False,
        evidence=[folder],
    )
    target.write_text(report.to_html(), encoding="utf-8")
    return target


if __name__ == "__main__":
    main()
