"""A self-contained HTML page in the style of all reports."""

from html import escape

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.5rem; }
main { max-width: max-content; }
h1 { font-size: 1.25rem; margin: 0 0 .4rem; }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { max-width: 60rem; margin: .3rem 0 .8rem; }
table { border-collapse: collapse; border-top: 2px solid #1a1a1a; border-bottom: 2px solid #1a1a1a;
        font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .7rem; text-align: left; vertical-align: baseline; white-space: nowrap; }
thead tr:last-child th { border-bottom: 1px solid #1a1a1a; }
td.number, th.number { text-align: right; }
th.across { text-align: center; border-bottom: 1px solid #999; }
tr.rule td { border-top: 1px solid #999; }
small { color: #666; font-size: .8em; }
ul.notes { color: #444; font-size: .88rem; max-width: 60rem; padding-left: 1.1rem; }
td.text { white-space: normal; max-width: 46rem; overflow-wrap: anywhere; }
"""


def page(title: str, body: str) -> str:
    """A complete HTML document.

    Args:
        title: Its title, as plain text.
        body: Its content, as HTML.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body><main>\n{body}\n</main></body>\n</html>\n"
    )
