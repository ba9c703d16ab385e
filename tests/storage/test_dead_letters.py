"""The contract of ``ports.DeadLetters``, on the double and on Azurite."""

from dataclasses import replace
from datetime import timedelta

from shared.ports import DeadLetter
from tests.storage.conftest import Kept
from tests.storage.examples import NOW

LETTER = DeadLetter("verifications", "broken", "the message is not JSON", NOW)


async def test_there_are_no_letters_at_first(kept: Kept) -> None:
    """Nothing is no error."""
    assert await kept.storage.dead_letters.recent() == []


async def test_the_newest_letters_come_first(kept: Kept) -> None:
    """Letters are sorted by time over days, and only as many come as are asked for."""
    ages = (timedelta(days=3), timedelta(), timedelta(microseconds=1), timedelta(hours=20))
    letters = [replace(LETTER, at=NOW - age) for age in ages]
    ids = [await kept.storage.dead_letters.keep(letter) for letter in letters]

    found = await kept.storage.dead_letters.recent(3)

    assert found == [replace(letters[index], letter_id=ids[index]) for index in (1, 2, 3)]


async def test_letters_of_one_moment_are_all_kept(kept: Kept) -> None:
    """Two letters that are equal in everything are two."""
    ids = {await kept.storage.dead_letters.keep(LETTER) for _ in range(3)}

    assert len(ids) == 3
    assert {letter.letter_id for letter in await kept.storage.dead_letters.recent()} == ids


async def test_a_letter_with_an_id_is_kept_once(kept: Kept) -> None:
    """Keeping a letter again that has its id already changes it in place."""
    letter_id = await kept.storage.dead_letters.keep(LETTER)
    again = replace(LETTER, letter_id=letter_id, reason="replayed")

    assert await kept.storage.dead_letters.keep(again) == letter_id
    assert await kept.storage.dead_letters.recent() == [again]


async def test_any_body_is_kept_whole(kept: Kept) -> None:
    """The largest message of a queue (64 KiB) and control characters come back as they were."""
    letter = replace(LETTER, body="\x00\x1b\ud800/\\#?%ü" + "漢" * 65_536)
    await kept.storage.dead_letters.keep(letter)

    (found,) = await kept.storage.dead_letters.recent()

    assert found.body == letter.body
