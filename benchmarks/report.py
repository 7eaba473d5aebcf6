"""How fast a report is in a browser: first paint, and the time from a choice to the frame that shows it.

python -m benchmarks.report runs/thousand/report.html
"""

import shutil
from pathlib import Path
from statistics import median

import click
from playwright.sync_api import Page, ViewportSize, sync_playwright

REPEATS = 10
VIEWPORT: ViewportSize = {"width": 1360, "height": 900}
#: what is done -> value of which control, there and back
CHOICES = {
    "filter by group": ("group", "succeed", ""),
    "filter by text": ("text", "-0012", ""),
    "filter by IoU": ("low", "0.7", ""),
    "sort": ("sort", "iou_adversarial", ""),
}
#: milliseconds from a control's event to the frame after the one that shows it
CHOOSE = """([name, value]) => new Promise((done) => {
  const controls = document.getElementById("controls");
  const start = performance.now();
  controls.elements[name].value = value;
  controls.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""


@click.command()
@click.argument("report", type=Path)
def main(report: Path) -> None:
    """Open REPORT in headless Chromium ten times and time what a reader does."""
    path = report.resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        print(f"Chromium {browser.version}, {path.stat().st_size / 1e6:.1f} MB, medians of {REPEATS}\n")
        print("| what | ms | slowest |\n|---|---|---|")
        opened = []
        for _ in range(REPEATS):
            page = browser.new_page(viewport=VIEWPORT)
            opened.append(opening(page, path))
            page.close()
        tell("first paint", [paint for paint, _ in opened])
        tell("until it answers", [usable for _, usable in opened])
        page = browser.new_page(viewport=VIEWPORT)
        opening(page, path)
        page.locator("#cards").scroll_into_view_if_needed()
        page.wait_for_timeout(1000)  # until what came into view is drawn
        for name, (control, value, back) in CHOICES.items():
            tell(name, [page.evaluate(CHOOSE, [control, one]) for _ in range(REPEATS) for one in (value, back)])
        browser.close()


def opening(page: Page, path: Path) -> tuple[float, float]:
    """Milliseconds to the first contentful paint, and to the end of the page's script."""
    page.goto(path.as_uri())
    page.wait_for_selector(".card")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    usable = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    return paint, usable


def tell(what: str, times: list[float]) -> None:
    print(f"| {what} | {median(times):.0f} | {max(times):.0f} |")


if __name__ == "__main__":
    main()
