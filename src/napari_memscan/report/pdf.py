"""The report as PDF, printed from its page."""

from __future__ import annotations

import logging
from pathlib import Path

from napari_memscan.errors import JobFailed
from napari_memscan.files import write_atomically

PDF_NAME = "report.pdf"


def write_pdf(page: str | Path) -> Path:
    """Print a page to ``report.pdf`` beside it; the same page gives the same bytes.

    Parameters
    ----------
    page : path
        Of `write_report`.

    Returns
    -------
    Path
        The PDF, tagged for screen readers, A4.

    Raises
    ------
    JobFailed
        WeasyPrint or a library that it needs is not there; says how to get it.
    """
    try:
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher
    except ImportError as error:
        raise JobFailed(
            "a PDF needs WeasyPrint, which is not installed. Install it with: pip install "
            "'napari-memscan[pdf]'. Or open the page in a browser and print it to a file."
        ) from error
    except OSError as error:
        # It is there, but Pango, a system library, is not.
        raise JobFailed(
            f"a PDF needs Pango, which WeasyPrint did not find ({str(error).splitlines()[0]}). "
            "Debian and Ubuntu: apt install libpangoft2-1.0-0; macOS: brew install pango; Windows: "
            "see WeasyPrint's installation page. Or open the page in a browser and print it."
        ) from error
    page = Path(page)
    # It warns of every rule that is meant for browsers only.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    document = HTML(
        string=page.read_text(encoding="utf-8"), url_fetcher=URLFetcher(allowed_protocols=["data"])
    )
    path = page.with_name(PDF_NAME)
    with write_atomically(path) as temporary:
        document.write_pdf(temporary, pdf_tags=True)
    return path
