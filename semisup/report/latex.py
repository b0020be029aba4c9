"""The report as LaTeX, for pdfLaTeX and for XeTeX (as tectonic runs it). Figures are the PDF files."""

from __future__ import annotations

from semisup.escape import latex as escape
from semisup.escape import latex_code, printable
from semisup.report.content import (
    Block,
    Code,
    Listing,
    Paragraph,
    Picture,
    Report,
    Section,
    Table,
    numeric,
    set_parts,
)

_PREAMBLE = r"""\documentclass[11pt]{article}
\usepackage[a4paper,textwidth=6.5in,textheight=9.4in]{geometry}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[utf8]{inputenc}
  \usepackage[T1]{fontenc}
  \usepackage{textcomp}
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
  \newcommand{\codepoint}[1]{\texttt{U+#1}\allowbreak} % a character that this engine has no letter for
\else
  \usepackage{fontspec}
  % A character of another script: by the text's font, else by the first of these that is installed and has it.
  \makeatletter
  \newcommand{\otherfonts}{}
  \@for\other@name:={DejaVu Sans},{Noto Sans},{Noto Sans CJK SC},{WenQuanYi Micro Hei},{Droid Sans Fallback},%
    {Noto Sans Devanagari},{Noto Sans Thai},{Noto Sans Arabic},{Noto Sans Hebrew},{Noto Emoji},{Arial Unicode MS}\do{%
    \IfFontExistsTF{\other@name}{%
      \edef\other@font{\expandafter\noexpand\csname other \other@name\endcsname{\other@name}}%
      \expandafter\newfontface\other@font
      \edef\otherfonts{\otherfonts,other \other@name}}{}}
  \DeclareRobustCommand{\codepoint}[1]{{\let\without\@firstofone
    \iffontchar\font"#1\relax\char"#1\relax\let\without\@gobble\fi
    \@for\other@font:=\otherfonts\do{\without{\csname\other@font\endcsname
      \iffontchar\font"#1\relax\char"#1\relax\let\without\@gobble\fi}}%
    \without{\texttt{U+#1}}}}
  \makeatother
\fi
\usepackage{booktabs,longtable,array,graphicx,float}
\usepackage[font=small,labelfont=bf,skip=6pt]{caption}
\usepackage[hidelinks,unicode]{hyperref}
\pdfstringdefDisableCommands{\def\codepoint#1{U+#1}}
% A picture is as large as it was drawn, unless that is more than half a page.
\makeatletter
\newcommand{\maxwidth}{\ifdim\Gin@nat@width>\linewidth\linewidth\else\Gin@nat@width\fi}
\newcommand{\maxheight}{\ifdim\Gin@nat@height>0.43\textheight 0.43\textheight\else\Gin@nat@height\fi}
\makeatother
\setkeys{Gin}{width=\maxwidth,height=\maxheight,keepaspectratio}
\setlength{\LTcapwidth}{\textwidth}
\setlength{\parindent}{0pt}
\setlength{\parskip}{0.5\baselineskip}
\setlength{\emergencystretch}{3em}
\newenvironment{code}{\footnotesize\ttfamily\raggedright\frenchspacing\setlength{\parskip}{0pt}}{\par\vspace{0.5\baselineskip}}
\newcommand{\codeline}[1]{\hangindent=2em\hangafter=1\strut#1\par}
"""
_LINE, _SMALLER_LINE = 98, 110  # small and smaller characters that fit beside each other in a table
_PAGE = 30  # rows; longer tables may be split between pages
_LEVELS = ("section", "subsection", "subsubsection")


def latex(report: Report) -> str:
    """The whole document; it looks for its figures beside itself."""
    body = "\n\n".join(_block(section, 0) for section in report.sections)
    head = f"\\title{{{escape(report.title)}}}\n\\author{{}}\n\\date{{{escape(report.date)}}}\n"
    return f"{_PREAMBLE}{head}\n\\begin{{document}}\n\\maketitle\n\n{body}\n\n\\end{{document}}\n"


def code(text: str) -> str:
    """Text in typewriter, which may be broken behind punctuation."""
    return f"\\texttt{{{latex_code(text)}}}" if text.strip() else ""


def _text(parts: tuple[str, ...]) -> str:
    return set_parts(parts, escape, code)


def _block(block: Block, level: int) -> str:
    match block:
        case Section():
            inside = "\n\n".join(_block(inner, level + 1) for inner in block.blocks)
            return f"\\{_LEVELS[min(level, 2)]}{{{escape(block.title)}}}\n\n{inside}"
        case Paragraph():
            return _text(block.parts)
        case Table():
            return _table(block)
        case Picture():
            path = f"{block.path}.pdf"
            drawn = f"\\centering\n\\includegraphics{{{path}}}\n\\caption{{{escape(block.caption)}}}"
            return f"\\begin{{figure}}[H]\n{drawn}\n\\end{{figure}}"
        case Listing():
            lines = "\n".join(_line(line) for line in printable(block.text).expandtabs(4).split("\n"))
            return f"\\begin{{code}}\n{lines}\n\\end{{code}}"


def _line(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return f"\\codeline{{{'~' * indent}{latex_code(line[indent:].rstrip())}}}"


def _table(table: Table) -> str:
    head = " & ".join(escape(name) for name in table.header) + r" \\"
    rows = "\n".join(" & ".join(_text((cell,)) for cell in row) + r" \\" for row in table.rows)
    size, columns = _columns(table)
    caption, columns = f"\\caption{{{escape(table.caption)}}}", f"{{@{{}}{columns}@{{}}}}"
    if len(table.rows) > _PAGE:
        return (
            f"{{{size}\n\\begin{{longtable}}{columns}\n{caption}\\\\\n\\toprule\n{head}\n\\midrule\n\\endfirsthead\n"
            f"\\toprule\n{head}\n\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n{rows}\n\\end{{longtable}}}}"
        )
    return (
        f"\\begin{{table}}[H]\n\\centering{size}\n{caption}\n\\begin{{tabular}}{columns}\n\\toprule\n{head}\n\\midrule\n"
        f"{rows}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}"
    )


def _columns(table: Table) -> tuple[str, str]:
    """The size of letters, and a column specification.

    Where rows are too long for the page even in the smaller size, columns of words are broken into lines.
    """
    columns = list(zip(table.header, *table.rows, strict=True))
    widths = [max(len(cell) * (1.15 if isinstance(cell, Code) else 1) for cell in column) + 2.5 for column in columns]
    plain = ["r" if numeric(column[1:]) else "l" for column in columns]
    if sum(widths) <= _SMALLER_LINE:
        return r"\small" if sum(widths) <= _LINE else r"\footnotesize", "".join(plain)
    fair = _SMALLER_LINE / len(columns)
    broken = [width > fair and any(" " in cell for cell in cells) for width, cells in zip(widths, columns, strict=True)]
    taken = sum(width for width, breaks in zip(widths, broken, strict=True) if not breaks)
    wanted = sum(width for width, breaks in zip(widths, broken, strict=True) if breaks)
    scale = max(_SMALLER_LINE - taken, fair) / _SMALLER_LINE / max(wanted, 1)
    paragraphs = [f">{{\\raggedright\\arraybackslash}}p{{{width * scale:.3f}\\textwidth}}" for width in widths]
    return r"\footnotesize", "".join(
        wide if breaks else letter for letter, wide, breaks in zip(plain, paragraphs, broken, strict=True)
    )
