"""A real browser looks at the report: nothing asked of a network, all seen, all printed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason=f"needs a browser: none of {', '.join(NAMES)} is installed"
    ),
]

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
SCRIPT = """<script>
addEventListener("load", () => {
  const all = (of) => [...document.querySelectorAll(of)];
  const root = document.documentElement;
  const found = {
    width: innerWidth,
    scroll: root.scrollWidth,
    images: all("img").map((img) => [img.naturalWidth, img.alt.length]),
    loaded: performance.getEntriesByType("resource").map((r) => r.name.slice(0, 40)),
    headings: all("h1, h2, h3, h4").map((h) => Number(h.tagName[1])),
    noscope: all("th:not([scope])").length,
    nowhere: all("a").filter((a) => !document.querySelector(a.getAttribute("href"))).length,
    lang: root.lang,
    faint: all("p, td, th, li, dd, dt, figcaption, h1, h2, h3, h4, a, span").filter((e) =>
      e.textContent.trim() && contrast(e) < 4.5).map((e) => e.outerHTML.slice(0, 60)),
    tiny: all("p, td, th, li").filter((e) => parseFloat(getComputedStyle(e).fontSize) < 12).length,
  };
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
function contrast(e) {
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  let behind = e, ground = [0, 0, 0, 0];
  while (behind && ground[3] === 0) {
    const seen = colour(getComputedStyle(behind).backgroundColor);
    ground = seen.length === 3 ? [...seen, 1] : seen;
    behind = behind.parentElement;
  }
  const pair = [light(ground), light(colour(getComputedStyle(e).color))].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}
</script>"""


def browse(page, profile, *options):
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-extensions",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        *options,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return done.stdout.decode("utf-8"), done.stderr.decode("utf-8", "replace")


def said(log):
    """What the page made the browser complain of."""
    return [line for line in log.splitlines() if ":CONSOLE" in line]


def measured(page, folder, width):
    """Look at a copy of the page with a script in it, which its own policy would not run."""
    text = POLICY.sub("", page.read_text("utf-8"))
    copy = folder / "measured.html"
    copy.write_text(text.replace("</head>", f"{SCRIPT}</head>"), encoding="utf-8")
    dom, _ = browse(
        copy,
        folder / "profile",
        f"--window-size={width},900",
        "--hide-scrollbars",
        "--virtual-time-budget=8000",
        "--dump-dom",
    )
    return json.loads(re.search(r'<pre id="found">(.*?)</pre>', dom, re.S).group(1))


@pytest.mark.parametrize("width", [1280, 800])
def test_all_is_seen_and_nothing_sticks_out(full_page, tmp_path, width):
    found = measured(full_page, tmp_path, width)
    assert found["width"] == width
    assert found["scroll"] <= width
    assert len(found["images"]) == 12
    assert all(natural > 0 and alt > 20 for natural, alt in found["images"])
    assert all(name.startswith("data:") for name in found["loaded"])
    assert found["headings"][0] == 1
    assert found["headings"].count(1) == 1
    assert found["headings"].count(2) == 3
    steps = zip(found["headings"], found["headings"][1:], strict=False)
    assert all(after - before <= 1 for before, after in steps)
    assert found["noscope"] == found["nowhere"] == 0
    assert found["lang"] == "en"
    assert found["faint"] == []
    assert found["tiny"] == 0


def test_something_that_sticks_out_is_seen(full_page, tmp_path):
    wide = tmp_path / "wide.html"
    text = full_page.read_text("utf-8").replace(
        "<h2 ", '<p style="width: 900px; color: #999">x</p><h2 '
    )
    wide.write_text(text, encoding="utf-8")
    found = measured(wide, tmp_path, 800)
    assert found["scroll"] > 800
    assert len(found["faint"]) == 3


def test_the_page_makes_no_browser_complain_and_prints(full_page, tmp_path):
    pdf = tmp_path / "printed.pdf"
    _, log = browse(full_page, tmp_path / "profile", f"--print-to-pdf={pdf}")
    assert said(log) == []
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf.read_bytes())) > 5


@pytest.mark.parametrize(
    "asks",
    [
        '<img src="https://example.org/a.png" alt="">',
        "<script>1</script>",
        '<link rel="stylesheet" href="https://example.org/a.css">',
    ],
)
def test_a_page_that_asked_for_anything_would_be_refused_and_seen(full_page, tmp_path, asks):
    other = tmp_path / "other.html"
    other.write_text(full_page.read_text("utf-8").replace("<main>", f"{asks}<main>"), "utf-8")
    _, log = browse(other, tmp_path / "profile", "--dump-dom")
    assert any("Content Security Policy" in line for line in said(log))
