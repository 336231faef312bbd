"""The page: whole, alone, and alive in a real browser."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from harness import report
from harness.looks import INK, PAPER
from harness.report.__main__ import main
from harness.report.execute import Shown
from harness.report.figures import FIGURES
from harness.report.page import compose
from harness.store import Store
from tests.conftest import STARTED, launch_row, run_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

RUNS = 100
_PARTS = (
    "decision", "gates", "latency", "quality", "latency-against-quality", "where-it-really-ran",
    "environment-and-noise", "every-run", "comparison",
)  # fmt: skip


def stored(folder: Path, count: int) -> Path:
    """A result set of so many runs over two models, twins among them, with awkward names."""
    store = Store(folder)
    for i in range(count):
        model = ("minilm", "<script>window.pwned=1</script>")[i % 2]
        row: dict[str, Any] = run_row(
            f"run{i:03d}",
            p95_ms=5.0 + i % 37,
            model=model,
            candidate_label=f"{model} fp32 cpu",
            batch_size=(1, 8, 32)[i % 3],
            workload=("default", "tokens_32", "tokens_128")[i % 5 % 3],
            latency_p50_ms=4.0 + i % 37,
            infer_p50_ms=3.0 + i % 37,
            tokenize_p50_ms=0.5,
            error="</script><script>window.pwned=1</script>" if i % 10 == 0 else None,
        )
        store.write_run(row)
        store.write_launches(row["run_id"], [launch_row(j, run_id=row["run_id"]) for j in range(6)])
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a hundred runs, two of them compared."""
    folder = stored(tmp_path_factory.mktemp("results"), RUNS)
    assert main([f"results={folder}", "a=run000", "b=run030"]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def page_of_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of one run, by a command in the folder where its results are."""
    folder = tmp_path_factory.mktemp("one")
    stored(folder / "mine", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["results=mine"]) == 0
    return folder / "mine" / "report.html"


def test_the_notebooks_run_on_nothing(tmp_path: Path) -> None:
    (stored(tmp_path, 0) / "runs").mkdir(exist_ok=True)
    assert main([f"results={tmp_path}"]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Nothing is measured yet" in text
    assert "Traceback" not in text


def test_the_notebooks_run_on_one_run(page_of_one: Path) -> None:
    text = page_of_one.read_text(encoding="utf-8")
    assert "Nothing is measured yet" not in text
    assert "Traceback" not in text


def test_a_notebook_runs_where_the_command_does_and_tells_relative_results_as_they_are(
    page_of_one: Path,
) -> None:
    text = page_of_one.read_text(encoding="utf-8")
    assert "results=mine" in text
    assert str(page_of_one.parent.parent) not in text


def test_the_page_opens_with_the_verdict_and_has_every_part(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    places = [text.index(f'id="{part}"') for part in _PARTS]
    assert places == sorted(places)
    assert text.index('class="verdict') < text.index('id="gates"')
    assert places[1] < text.index('aria-label="p95 against gates"') < places[2], "a figure of gates"
    noise = [text.index(part) for part in ('class="facts"', "Was the machine quiet?", 'data-name="noise"')]
    told, drawn = text.index("The newest sweep over time"), text.index('aria-label="timeline"')
    assert [*noise, told, drawn] == sorted([*noise, told, drawn]), "with the table that counts what it draws"


def test_the_page_asks_for_nothing_from_outside(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    loads = re.findall(r'(?:src|href)="([^"#][^"]*)"', text)
    assert loads == []
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_names_and_errors_from_results_stay_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script>window.pwned" not in text
    assert text.count("<script>") == text.count("</script>") == 1


def test_ink_and_paper_take_the_colours_of_the_page() -> None:
    drawn = f'<?xml version="1.0"?><svg><path style="stroke: {INK}; fill: {PAPER}"/></svg>'
    text = compose([Shown("svg", drawn)], title="t")
    assert 'style="stroke: currentColor; fill: var(--paper)"' in text
    assert "<?xml" not in text


def test_a_figure_has_a_name_for_those_who_cannot_see_it(page: Path) -> None:
    named = re.findall(r'<svg role="img" aria-label="([^"]+)"', page.read_text(encoding="utf-8"))
    assert sorted(named) == sorted(name.replace("_", " ") for name in (*FIGURES, "ratios"))


def test_markdown_cells_hold_no_html_of_their_own() -> None:
    text = compose([Shown("markdown", "## A & B\n\n<b>x</b>")], title="<t>")
    assert 'id="a-amp-b"' in text or 'id="a-b"' in text
    assert "<b>x</b>" not in text
    assert "<title>&lt;t&gt;</title>" in text


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Chrome]:
    """Chromium on the page, its network cut."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        pytest.skip("needs Debian's chromium and chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    chrome.get(page.as_uri())
    yield chrome
    chrome.quit()


def cells(browser: Chrome, heading: str) -> list[str]:
    """The visible cells under a heading of the table of all runs."""
    return browser.execute_script(
        """const table = document.querySelector('table[data-name=runs]');
        const at = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === arguments[0]);
        return [...table.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[at].textContent);""",
        heading,
    )


def test_the_browser_has_nothing_to_complain_of_and_asks_nobody(browser: Chrome, page: Path) -> None:
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.pwned") is None
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert asked == []


def test_tables_equal_the_parquet(browser: Chrome, page: Path) -> None:
    data = report.read(page.parent)
    assert len(cells(browser, "run")) == RUNS
    assert sorted(cells(browser, "run")) == sorted(data.runs["run_id"])
    shown = dict(zip(cells(browser, "run"), cells(browser, "P95 ms"), strict=True))
    for run_id, p95_ms in zip(data.runs["run_id"], data.runs["latency_p95_ms"], strict=True):
        assert float(shown[run_id]) == pytest.approx(p95_ms, rel=1e-3)


def test_a_click_sorts_by_number_and_a_second_one_turns_it_round(browser: Chrome) -> None:
    button = browser.execute_script(
        """return [...document.querySelectorAll('table[data-name=runs] th button')]
        .find(b => b.textContent === 'P95 ms')"""
    )
    browser.execute_script("arguments[0].click()", button)
    rising = [float(cell) for cell in cells(browser, "P95 ms")]
    browser.execute_script("arguments[0].click()", button)
    falling = [float(cell) for cell in cells(browser, "P95 ms")]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)


def test_the_filter_leaves_the_rows_that_have_every_word(browser: Chrome) -> None:
    from selenium.webdriver.common.by import By

    before = len(cells(browser, "run"))
    table = browser.find_element(By.CSS_SELECTOR, "table[data-name=runs]")
    field = table.find_element(By.XPATH, "../preceding-sibling::div[1]/input")
    field.send_keys("minilm tokens_32")
    left = cells(browser, "candidate"), cells(browser, "measured at")
    field.clear()
    field.send_keys(" ")
    assert 0 < len(left[0]) < before
    assert all("minilm" in name for name in left[0])
    assert all("tokens_32" in place for place in left[1])


def test_sorting_needs_no_mouse_and_is_told_to_those_who_cannot_see_it(browser: Chrome) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    heading = browser.find_elements(By.CSS_SELECTOR, "table[data-name=runs] th")[2]
    heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert browser.switch_to.active_element.text.startswith("P50 ms")
    assert all(
        field.accessible_name.startswith("filter the rows of ")
        for field in browser.find_elements(By.CSS_SELECTOR, ".filter input")
    )


def resize(browser: Chrome, width: int, height: int = 844) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_its_window_without_a_word(browser: Chrome, width: int) -> None:
    resize(browser, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(
        "const n = document.querySelector('nav'); return n.scrollWidth <= n.clientWidth"
    )
    # The observer of sizes tells before the next frame but one.
    cut_and_told = browser.execute_async_script(
        """const done = arguments[0];
        requestAnimationFrame(() => requestAnimationFrame(() => done(
          [...document.querySelectorAll('table.data, figure svg')].map((wide) => {
            const box = wide.parentElement, bar = box.previousElementSibling;
            const hint = bar.lastElementChild ?? bar;
            return [box.scrollWidth > box.clientWidth, !hint.hidden && hint.textContent.includes('sideways')];
          }))));"""
    )
    assert all(cut == told for cut, told in cut_and_told)
    assert any(cut for cut, _ in cut_and_told) == (width == 390)


@pytest.mark.parametrize("width", [1280, 1060, 390])
def test_letters_in_figures_can_be_read_and_what_is_cut_off_is_reached_by_keys(
    browser: Chrome, page: Path, width: int
) -> None:
    resize(browser, width)
    browser.get(page.as_uri())
    figures = browser.execute_script(
        """return [...document.querySelectorAll('figure')].map((box) => ({
          px: [...box.querySelectorAll('g[transform*="scale("]')].map((letters) => {
            const { a, b } = letters.getScreenCTM();  // matplotlib draws letters 100 units high
            return 100 * Math.hypot(a, b);
          }),
          cut: box.scrollWidth > box.clientWidth,
          reached: box.tabIndex === 0 && box.role === 'region' && Boolean(box.ariaLabel),
        }));"""
    )
    assert [figure for figure in figures if not figure["px"]] == []
    assert min(px for figure in figures for px in figure["px"]) >= 11
    assert all(figure["reached"] for figure in figures)
    assert any(figure["cut"] for figure in figures) == (width == 390)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_columns_that_matter_less_are_shown_on_request(browser: Chrome) -> None:
    from selenium.webdriver.common.by import By

    (toggle,) = browser.find_elements(
        By.XPATH, "//table[@data-name='runs']/../preceding-sibling::div[1]/button"
    )
    error = browser.find_element(By.XPATH, "//table[@data-name='runs']//th[contains(., 'error')]")
    shown = [error.is_displayed()]
    for _ in range(2):
        browser.execute_script("arguments[0].click()", toggle)
        shown.append(error.is_displayed())
    assert shown == [False, True, False]


def test_a_script_that_is_not_the_pages_own_does_not_run(browser: Chrome) -> None:
    browser.execute_script(
        """const script = document.createElement('script');
        script.textContent = 'window.pwned = 1';
        document.body.append(script);"""
    )
    assert browser.execute_script("return window.pwned") is None


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_verdict_pick_and_why_stand_in_one_screen_however_much_fails(
    browser: Chrome, tmp_path: Path, width: int, height: int
) -> None:
    store = Store(tmp_path)
    for i in range(20):
        label = f"a-model-of-our-own-{i} (random weights) fp32-fused openvino"
        store.write_run(run_row(f"r{i}", model_id=f"m{i}", candidate_label=label, p95_ms=99.0, finite=False))
    fragment = report.verdict(report.read(tmp_path))
    shown = [Shown("markdown", "# Can we ship, and what?"), Shown("markdown", "## Decision")]
    file = tmp_path / "first.html"
    file.write_text(compose([*shown, Shown("html", fragment.text)], title="t"), encoding="utf-8")
    resize(browser, width, height)
    browser.get(file.as_uri())
    why = "return document.querySelector('.verdict + ul').getBoundingClientRect().bottom"
    assert browser.execute_script(why) <= height


def small_page(tmp_path: Path, *rows: dict[str, Any]) -> str:
    """The address of a page of the tables of these runs."""
    store = Store(tmp_path)
    for row in rows:
        store.write_run(row)
    data = report.read(tmp_path)
    tables = [Shown("html", shown(data).text) for shown in (report.verdict, report.gates, report.runs)]
    file = tmp_path / "small.html"
    file.write_text(compose(tables, title="t"), encoding="utf-8")
    return file.as_uri()


def test_figures_with_words_sort_by_their_values_and_the_unknown_stays_last(
    browser: Chrome, tmp_path: Path
) -> None:
    spans_s = {"short": 57.0, "long": 7200.0, "middle": 107.0}
    rows = [run_row(name, evidence_span_s=span_s) for name, span_s in spans_s.items()]
    absent = run_row("absent", status="unavailable", latency_p95_ms=None, evidence_span_s=None)
    browser.get(small_page(tmp_path, absent, *rows))
    button = browser.execute_script(
        "return [...document.querySelectorAll('th button')].find(b => b.textContent === 'evidence')"
    )
    orders = []
    for _ in range(2):
        browser.execute_script("arguments[0].click()", button)
        orders.append(cells(browser, "run"))
    assert orders == [["short", "middle", "long", "absent"], ["long", "middle", "short", "absent"]]


def test_the_filter_asks_whole_numbers_and_words_of_one_shown_cell(browser: Chrome, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    rows = [run_row(f"run-{n}", batch_size=n, started_at=STARTED + timedelta(hours=n)) for n in (1, 16, 32)]
    rows[2] |= {f"throughput_texts_per_s{end}": 1029.0 for end in ("", "_low", "_high")}
    rows[2]["launch_throughput_texts_per_s"] = [1029.0] * 20
    rows[1]["launches"] = 1
    rows[1] |= {name: value[:1] for name, value in rows[1].items() if name.startswith("launch_") and value}
    browser.get(small_page(tmp_path, *rows))
    table = browser.find_element(By.CSS_SELECTOR, "table[data-name=runs]")
    bar = table.find_element(By.XPATH, "../preceding-sibling::div[1]")
    field = bar.find_element(By.TAG_NAME, "input")

    def left(asked: str) -> list[str]:
        field.clear()
        field.send_keys(asked or " ")
        return cells(browser, "run")

    assert left("") == ["run-1", "run-16", "run-32"]
    assert left('"batch 1"') == ["run-1"]
    assert left("batch 32") == left("MINILM 32") == ["run-32"]
    assert left("batch 1") == ["run-1", "run-16"], "of one launch"
    assert left("1029") == left("1,029") == ["run-32"]
    assert left("102") == left("029") == []
    assert left("batch 2") == left('"batch 3"') == left("cpudefault") == left("a(b") == []
    assert left("run-16") == [], "in a column that is not shown"
    count = bar.find_element(By.TAG_NAME, "output")
    assert count.text == "0 of 3 in the columns shown"
    browser.execute_script("arguments[0].click()", bar.find_element(By.TAG_NAME, "button"))
    assert cells(browser, "run") == ["run-16"]
    assert count.text == "1 of 3"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_name_without_end_wraps_in_its_cell_and_moves_nothing(
    browser: Chrome, tmp_path: Path, width: int
) -> None:
    name = "m" * 300
    resize(browser, width)
    browser.get(small_page(tmp_path, run_row(candidate_label=f"{name} fp32 cpu", model=name)))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    cell = "const c = document.querySelector('table[data-name=runs] tbody td'); return "
    assert browser.execute_script(cell + "c.scrollWidth <= c.clientWidth")
    assert browser.execute_script(cell + "c.clientWidth") <= min(width / 2, 320)
