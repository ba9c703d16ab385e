"""A page as a browser takes it: its elements, its words, its forms, and whether every element that opens is closed."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"meta", "link", "input", "br", "img"})
"""Elements without an end tag (https://html.spec.whatwg.org, "Void elements") that a page may have."""


@dataclass
class Element:
    """An element with its attributes, and the text directly in it and below."""

    name: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Form:
    """A form: where it goes, and its fields as they stand when nobody touches them."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)


class Markup(HTMLParser):
    """Reads a page. Raises AssertionError for an element that is closed by another's end tag, or never."""

    def __init__(self, text: str) -> None:
        """Read the whole page."""
        super().__init__()
        self.elements: list[Element] = []
        self.forms: list[Form] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {[each.name for each in self._open]}"

    @property
    def words(self) -> str:
        """What a person reads: the text of the body."""
        return " ".join(next(each.text for each in self.elements if each.name == "body").split())

    def named(self, name: str, **attributes: str) -> list[Element]:
        """Return the elements of a name with some attributes."""
        wanted = attributes.items()
        return [each for each in self.elements if each.name == name and wanted <= each.attributes.items()]

    def links(self) -> dict[str, str]:
        """Return where each link leads, by its text."""
        return {each.text.strip(): each.attributes["href"] for each in self.named("a")}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element; note a form, and the field of one."""
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)
        if tag == "form":
            self.forms.append(Form(element.attributes.get("action", ""), element.attributes["method"]))
        elif self.forms and "name" in element.attributes:
            self._add_field(element)
        elif tag == "option" and self.forms and not self._has_choice():
            self.forms[-1].fields.append((self._open[-2].attributes["name"], element.attributes["value"]))

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, which must be this one."""
        assert self._open, f"nothing is open for </{tag}>"
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        closed = self._open.pop()
        if tag == "textarea" and self.forms:
            self.forms[-1].fields.append((closed.attributes["name"], closed.text))

    def handle_data(self, data: str) -> None:
        """Add text to every element around it."""
        for each in self._open:
            each.text += data

    def _add_field(self, element: Element) -> None:
        attributes = element.attributes
        is_off = attributes.get("type") in ("checkbox", "radio") and "checked" not in attributes
        if element.name == "input" and not is_off:
            self.forms[-1].fields.append((attributes["name"], attributes.get("value", "")))

    def _has_choice(self) -> bool:
        """Tell whether the select around this option has its first choice already."""
        return any(name == self._open[-2].attributes.get("name") for name, _ in self.forms[-1].fields)
