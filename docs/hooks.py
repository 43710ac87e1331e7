"""Makes the pages of a checkout those of a site: the first page is the README, links to code become names of files."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
# [words](../vitax/x.py) or, on the first page, [words](vitax/x.py)
CODE = re.compile(
    r"\[([^\]]+)\]\((?:\.\./)?((?:vitax|tests|experiments|configs|notebooks)(?:/[^)#]*)?|[A-Z]+(?:\.md|\.cff)?)\)"
)


def on_page_markdown(markdown: str, page, **_) -> str:
    """The text of a page, with links that the site can follow."""
    if page.file.src_uri == "index.md":
        markdown = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return CODE.sub(r"\1 (`\2`)", markdown)
