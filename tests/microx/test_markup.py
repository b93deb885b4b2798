"""Tables for others' programs: what means something there is escaped."""

import pandas as pd

from microx.markup import escape_latex, escape_markdown, mark_code, to_html, to_latex, to_markdown

HOSTILE = pd.DataFrame({"row_a|b": ["left_eye & <b> 50\xa0% $x^2$ {\\o} ~ #1 [a](b)\n\nline"]})


def test_markdown_has_one_line_a_row_and_no_cell_too_many():
    head, rule, row = to_markdown(HOSTILE).splitlines()
    assert head == r"| row\_a\|b |"
    assert rule == "| :--- |"
    assert row.replace(r"\|", "").count("|") == 2
    assert r"\<b\>" in row
    assert r"\[a\]" in row


def test_tables_without_rows_or_columns_are_no_trouble():
    assert to_markdown(pd.DataFrame()) == ""
    assert to_markdown(pd.DataFrame(columns=["a"])).count("\n") == 2
    assert r"\toprule" in to_latex(pd.DataFrame(columns=["a"]), caption="", label="tab:a")


def test_html_shows_a_table_as_text():
    text = to_html(HOSTILE, caption="a < b")
    assert "<p>a &lt; b</p>" in text
    assert "&lt;b&gt;" in text
    assert "<th>row_a|b</th>" in text


def test_latex_prints_what_was_written():
    text = to_latex(HOSTILE, caption="100 % & more", label="tab:a")
    assert r"left\_eye \& \textless{}b\textgreater{} 50~\% \$x\textasciicircum{}2\$" in text
    assert r"\caption{100 \% \& more}" in text
    assert r"row\_a\textbar{}b" in text
    assert text.count(r"\\") == 2  # the head and the row


def test_every_mark_is_escaped_once():
    assert escape_latex("\\&") == r"\textbackslash{}\&"
    assert escape_markdown("a*b_c`d") == r"a\*b\_c\`d"
    assert escape_markdown("two\nlines") == "two lines"


def test_arguments_in_messages_become_code():
    assert mark_code("<b> or `faces=all`") == "&lt;b&gt; or <code>faces=all</code>"
    assert mark_code("one ` alone") == "one ` alone"
