"""tools/screenshots.py: the pictures are small, and a clock alone changes no file."""

import io
from pathlib import Path

from PIL import Image, ImageDraw

from tools.screenshots import SHOTS, write

SIZE = (400, 300)


def picture(*, box: tuple[int, int, int, int], colours: int = 1) -> bytes:
    """Return a PNG of a white page with a black box on it, and so many more colours."""
    image = Image.new("RGB", SIZE, "white")
    for number in range(colours):
        image.putpixel((number, 0), (number % 256, 255 - number % 256, 128))
    ImageDraw.Draw(image).rectangle(box, fill="black")
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def test_a_picture_has_a_palette(tmp_path: Path) -> None:
    """What is written has few colours and the taken picture's size."""
    path = tmp_path / "screenshots" / "page.png"
    write(path, picture(box=(50, 50, 150, 150), colours=300))

    with Image.open(path) as written:
        assert (written.mode, written.size) == ("P", SIZE)
        assert written.convert("RGB").getpixel((100, 100)) == (0, 0, 0)


def test_a_small_difference_changes_no_file(tmp_path: Path) -> None:
    """A few other digits leave the file as it was; another page replaces it, a longer one too."""
    path = tmp_path / "page.png"
    write(path, picture(box=(50, 50, 150, 150)))
    before = path.read_bytes()
    write(path, picture(box=(50, 50, 152, 152)))
    assert path.read_bytes() == before

    write(path, picture(box=(50, 50, 300, 250)))
    assert path.read_bytes() != before


def test_every_picture_has_a_file_of_its_own() -> None:
    """No two pictures have one name."""
    assert len({shot.name for shot in SHOTS}) == len(SHOTS)
