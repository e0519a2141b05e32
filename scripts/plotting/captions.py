"""Captions of the figures drawn: what they show, what to beware of, where the numbers come from."""
from .export import escape_latex


def _sentences(caption):
    parts = [caption.title, caption.subtitle, *caption.warnings, caption.claims]
    return [part if part.endswith((".", "?", "!")) else part + "." for part in parts if part]


def as_markdown(texts):
    """One section a figure. texts: [(name, layout.Caption)]"""
    lines = ["# Captions", ""]
    for name, caption in texts:
        lines += [f"## {name}", "", " ".join(_sentences(caption)), ""]
        lines += [f"- {origin}" for origin in caption.origins] + [""]
    return "\n".join(lines).rstrip() + "\n"


def as_latex(texts):
    """One command a figure: \\caption{\\ckvsimCaptionMemoryVsUsers}."""
    lines = ["% \\input this file, then \\caption{\\ckvsimCaption...} below each figure"]
    for name, caption in texts:
        command = "".join(part.capitalize() for part in name.split("_"))
        words = " ".join(_sentences(caption) + [f"[{origin}]" for origin in caption.origins])
        lines.append(f"\\newcommand{{\\ckvsimCaption{command}}}{{{escape_latex(words)}}}")
    return "\n".join(lines) + "\n"
