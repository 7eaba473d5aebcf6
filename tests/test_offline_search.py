"""The documentation's search where the pages are opened as files: the hidden frame that stands for a Worker."""

from pathlib import Path

SHIM = Path(__file__).parents[1] / "docs/assets/iframe-worker.js"


def test_a_page_opened_as_a_file_gets_answers_of_a_worker(visit, expect, tmp_path):
    (tmp_path / "more.js").write_text("const double = (number) => 2 * number;")
    (tmp_path / "worker.js").write_text(
        'addEventListener("message", async ({data}) => {'
        "await importScripts(data.more); postMessage(double(data.number)); });"
    )
    (tmp_path / "page.html").write_text(
        f"<!doctype html><link rel=icon href='data:,'><body><script>{SHIM.read_text()}</script><script>"
        "const worker = new Worker('worker.js');"
        "worker.addEventListener('message', ({data}) => { document.title = data; });"
        "worker.postMessage({more: 'more.js', number: 21});</script>"
    )
    page = visit(tmp_path / "page.html")
    expect(page).to_have_title("42")
