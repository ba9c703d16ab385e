"""What a person does with a page: with the mouse and the keyboard, or with the keyboard alone; the walks are the same."""

from typing import Protocol

from playwright.async_api import Locator

MAXIMUM_TABS = 200


class Hands(Protocol):
    """How a person works a page."""

    async def press(self, locator: Locator) -> None:
        """Press a button, follow a link, unfold a summary."""

    async def write(self, locator: Locator, text: str) -> None:
        """Put a text into a field, in the place of what stands there."""

    async def tick(self, locator: Locator) -> None:
        """Choose a check box or a radio button that is not chosen."""

    async def choose(self, locator: Locator, label: str) -> None:
        """Choose an option of a list."""


class ByMouse:
    """Clicks and types."""

    async def press(self, locator: Locator) -> None:
        """Click."""
        await locator.click()

    async def write(self, locator: Locator, text: str) -> None:
        """Click into the field, mark what stands there, and type."""
        await locator.click(click_count=3)
        await locator.press_sequentially(text)

    async def tick(self, locator: Locator) -> None:
        """Click."""
        await locator.check()

    async def choose(self, locator: Locator, label: str) -> None:
        """Click and choose; the list that Chromium unfolds is the system's, so Playwright chooses in it."""
        await locator.select_option(label=label)


class ByKeyboard:
    """Tab, arrow keys, Enter, Space and letters only; every element is reached as the page's order of focus has it."""

    async def press(self, locator: Locator) -> None:
        """Go there and press Enter."""
        await self._reach(locator)
        await locator.page.keyboard.press("Enter")

    async def write(self, locator: Locator, text: str) -> None:
        """Go there, mark what stands there, and type."""
        await self._reach(locator)
        await locator.page.keyboard.press("Control+A")
        await locator.page.keyboard.type(text)

    async def tick(self, locator: Locator) -> None:
        """Go there and press Space; a radio button beside the chosen one is reached by the arrow keys, which choose it."""
        if await locator.get_attribute("type") == "radio":
            await self._turn(locator)
        else:
            await self._reach(locator)
            await locator.page.keyboard.press("Space")

    async def choose(self, locator: Locator, label: str) -> None:
        """Go there and type what the option begins with."""
        await self._reach(locator)
        await locator.page.keyboard.type(label)

    async def _turn(self, radio: Locator) -> None:
        name = await radio.get_attribute("name")
        group = radio.page.locator(f"input[type=radio][name='{name}']")
        await self._reach(group.and_(radio.page.locator(":checked")))
        for _ in range(await group.count()):
            if await radio.is_checked():
                return
            await radio.page.keyboard.press("ArrowDown")
        raise AssertionError(f"the arrow keys do not reach {radio}")

    async def _reach(self, locator: Locator) -> None:
        """Press Tab until the element has the focus. Raises AssertionError when it never has."""
        await locator.wait_for()
        for _ in range(MAXIMUM_TABS):
            if await locator.and_(locator.page.locator(":focus")).count():
                return
            await locator.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {locator}")


def by_mouse() -> Hands:
    """Return hands that use the mouse and the keyboard."""
    return ByMouse()


def by_keyboard() -> Hands:
    """Return hands that use the keyboard alone."""
    return ByKeyboard()
