"""English prose that comes with Python: its language reference."""


def topic_texts() -> dict[str, str]:
    """The language reference that comes with Python, as {topic: text}."""
    from pydoc_data.topics import topics as found

    return dict(sorted(found.items()))


def sentences(text: str) -> list[str]:
    """The sentences of a text that are prose in paragraphs; code examples, tables and headlines are left out."""
    prose = []
    for paragraph in text.split("\n\n"):
        words = " ".join(paragraph.split())
        if paragraph.startswith("   ") or len(words) < 40 or "::=" in words or not words[0].isalpha():
            continue
        for sentence in words.replace(".  ", ". ").split(". "):
            if len(sentence) > 20:
                prose.append(sentence.rstrip(".") + ".")
    return prose
