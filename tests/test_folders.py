"""course_lib.folders and course_lib.hub: files of every kind, and what is said of bad ones."""

import io
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from course_lib import hub as hub_module
from course_lib.datasets import hub, image_folder, text_file

GREEN, RED, BLUE = (0, 200, 0), (200, 0, 0), (0, 0, 200)


def grey(value, size=(12, 12), mode="L"):
    return Image.new(mode, size, value)


def values(images):
    """Bytes of images in [−1, 1]."""
    return ((images + 1) * 127.5).round().long()


def only(folder, size=8, **options):
    """The one image of a folder, as bytes."""
    data = image_folder(folder, size, **options)
    assert len(data.train_images) == 1 and len(data.test_images) == 0
    return values(data.train_images)[0]


# ---------------------------------------------------------------- squares


@pytest.mark.parametrize(("width", "height"), [(178, 218), (218, 178)])
def test_the_aspect_is_kept_and_the_middle_is_taken(tmp_path, width, height):
    """A circle stays a circle, of the right size, and what is off the middle is cut.

    A squash would make an ellipse of it; scaling the longer side would show the red borders and
    leave the circle too small; a crop without scaling would make it too large.
    """
    y, x = np.mgrid[:height, :width]
    picture = np.full((height, width, 3), 255, np.uint8)
    longer = max(width, height)
    along = x if width == longer else y
    picture[np.abs(along - (longer - 1) / 2) > 178 / 2] = RED
    picture[np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) < 60] = 0
    Image.fromarray(picture).save(tmp_path / "a.png")
    pixels = only(tmp_path, 64)
    assert pixels.shape == (3, 64, 64)
    inside = pixels[1] < 128
    true = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 60 * 64 / 178
    assert (inside.numpy() != true).mean() < 0.01
    assert (pixels[0] - pixels[1]).abs().max() < 40  # no red but a trace at the border


@settings(max_examples=20)
@given(width=st.integers(1, 40), height=st.integers(1, 40), size=st.integers(1, 24))
def test_any_size_becomes_the_square_that_pillow_fits(tmp_path_factory, width, height, size):
    folder = tmp_path_factory.mktemp("any")
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    from PIL import ImageOps

    fitted = ImageOps.fit(Image.fromarray(noise), (size, size), Image.Resampling.BICUBIC)
    found = only(folder, size).permute(1, 2, 0).numpy()
    assert np.abs(found - np.asarray(fitted).astype(int)).max() <= 1


def test_a_large_jpeg_is_scaled_without_aliasing(tmp_path):
    """Stripes finer than a pixel become grey; where they fit, they are kept."""
    stripes = np.zeros((900, 1200), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.jpg", quality=95)
    assert (only(tmp_path, 16) - 127).abs().max() < 6
    assert only(tmp_path, 900).float().std() > 100


# ---------------------------------------------------------------- kinds of images


def rotated():
    """Upright: the left half is green. Saved turned, with the EXIF tag that says so."""
    image = Image.new("RGB", (12, 12), BLUE)
    image.paste(GREEN, (0, 0, 6, 12))
    turned = image.transpose(Image.Transpose.ROTATE_90)  # counter-clockwise
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise for display
    return turned, {"exif": exif}


def palette_with_transparency():
    image = Image.new("P", (12, 12), 1)
    image.putpalette([*RED, *GREEN])
    image.paste(0, (0, 0, 6, 12))
    return image, {"transparency": 0}


def half_transparent():
    image = Image.new("RGBA", (12, 12), (*GREEN, 255))
    image.paste((*RED, 0), (0, 0, 6, 12))
    return image, {}


def sixteen_bits():
    return Image.fromarray(np.full((12, 12), 250 * 257, np.uint16)), {}


KINDS = {
    "grey.png": (lambda: (grey(100), {}), [100] * 3, [100] * 3),
    "bits.png": (lambda: (grey(1, mode="1"), {}), [255] * 3, [255] * 3),
    "rgb.png": (lambda: (grey(GREEN, mode="RGB"), {}), GREEN, GREEN),
    "rgb.webp": (lambda: (grey(GREEN, mode="RGB"), {"lossless": True}), GREEN, GREEN),
    "rgb.bmp": (lambda: (grey(GREEN, mode="RGB"), {}), GREEN, GREEN),
    "rgb.gif": (lambda: (grey(GREEN, mode="RGB"), {}), GREEN, GREEN),
    "rgb.tiff": (lambda: (grey(GREEN, mode="RGB"), {}), GREEN, GREEN),
    "rgba.png": (half_transparent, [255] * 3, GREEN),
    "la.png": (lambda: (Image.new("LA", (12, 12), (0, 0)), {}), [255] * 3, [255] * 3),
    "palette.png": (palette_with_transparency, [255] * 3, GREEN),
    "palette.gif": (palette_with_transparency, [255] * 3, GREEN),
    "grey16.png": (sixteen_bits, [250] * 3, [250] * 3),
    "grey16.tiff": (sixteen_bits, [250] * 3, [250] * 3),
    "turned.jpg": (rotated, GREEN, BLUE),
    "cmyk.jpg": (lambda: (grey((0, 255, 255, 0), mode="CMYK"), {}), (255, 0, 0), (255, 0, 0)),
    "cmyk.tiff": (lambda: (grey((255, 0, 255, 0), mode="CMYK"), {}), (0, 255, 0), (0, 255, 0)),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_images(tmp_path, name):
    """The colours of the left edge and of the right edge."""
    make, left, right = KINDS[name]
    image, options = make()
    image.save(tmp_path / name, **options)
    close = 12 if name.endswith("jpg") else 0
    pixels = only(tmp_path)
    assert (pixels[:, 4, 0] - torch.tensor(left)).abs().max() <= close
    assert (pixels[:, 4, 7] - torch.tensor(right)).abs().max() <= close
    one = only(tmp_path, channels=1)
    assert one.shape == (1, 8, 8)
    luma = 0.299 * left[0] + 0.587 * left[1] + 0.114 * left[2]  # ITU-R BT.601
    assert abs(int(one[0, 4, 0]) - luma) <= close + 1


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [grey(colour, mode="RGB") for colour in (GREEN, RED)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert only(tmp_path)[:, 0, 0].tolist() == list(GREEN)


# ---------------------------------------------------------------- folders


@pytest.fixture
def mixed(tmp_path):
    """Two classes of mixed sizes and modes, with all that lies about in folders of images."""
    folder = tmp_path / "pictures"
    for name in ("cats", "dogs", ".cache", "dogs/small"):
        (folder / name).mkdir(parents=True)
    grey(10, (30, 20)).save(folder / "cats" / "1.png")
    Image.new("RGBA", (20, 30), (20, 20, 20, 255)).save(folder / "cats" / "2.png")
    grey(30, (8, 8)).save(folder / "dogs" / "3.png")
    grey(BLUE, (9, 50), "RGB").save(folder / "dogs" / "small" / "4.without-suffix", "PNG")
    grey(0).save(folder / ".cache" / "thumbnail.png")
    (folder / "cats" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return folder


def spoil(folder):
    (folder / "cats" / "notes.txt").write_text("These are cats.")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("whole.jpg", "whole.png"):
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, Path(name).suffix[1:].replace("jpg", "jpeg"))
        (folder / "dogs" / f"truncated-{name}").write_bytes(stream.getvalue()[:-500])
    (folder / "dogs" / "empty.png").touch()


def test_classes_order_and_labels(mixed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # hidden files are not worth a word
        data = image_folder(mixed, 8)
    assert data.classes == ("cats", "dogs")
    assert data.train_images.shape == (4, 3, 8, 8)
    assert data.train_labels.tolist() == [0, 1, 0, 1]  # interleaved
    assert values(data.train_images)[:, 2, 0, 0].tolist() == [10, 30, 20, 200]
    assert (data.name, data.source) == ("pictures", "the folder pictures")


def test_an_image_beside_the_subfolders_has_the_class_of_the_folder(mixed):
    grey(50).save(mixed / "5.png")
    data = image_folder(mixed, 8)
    assert data.classes == ("cats", "dogs", "pictures")
    assert values(data.train_images[data.train_labels == 2])[0, 0, 0, 0] == 50


def test_one_class_without_subfolders(tmp_path):
    for i in range(25):
        grey(10 * i).save(tmp_path / f"{i:02}.png")
    data = image_folder(tmp_path, 4, channels=1)
    assert data.classes == (tmp_path.name,)
    assert values(data.test_images)[:, 0, 0, 0].tolist() == [90, 190]  # the tenth, the twentieth
    train = [10 * i for i in range(25) if i not in (9, 19)]
    assert values(data.train_images)[:, 0, 0, 0].tolist() == train


@given(st.lists(st.integers(1, 15), min_size=1, max_size=6))
def test_each_class_gives_its_share_to_the_held_out_part(counts):
    from course_lib.folders import hold_out

    labels = torch.cat([torch.full((n,), i) for i, n in enumerate(counts)])
    pixels = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
    images, train, held, test = hold_out(pixels, labels)
    both = values(torch.cat([images, held])).flatten()
    assert sorted(both.tolist()) == list(range(len(labels)))
    assert torch.equal(labels[both], torch.cat([train, test]))
    assert len(test) == len(labels) // 10
    for i, n in enumerate(counts):
        assert abs((test == i).sum() - n / 10) < 1


def test_what_cannot_be_read_is_named_and_skipped(mixed):
    clean = image_folder(mixed, 8)
    spoil(mixed)
    with pytest.warns(UserWarning) as caught:
        data = image_folder(mixed, 8)
    assert torch.equal(data.train_images, clean.train_images)
    message = str(caught[0].message)
    assert len(caught) == 1
    assert message.startswith(f"path: {str(mixed)!r}: skipped 4 files")
    assert f"cats{os.sep}notes.txt (not an image)" in message
    assert f"dogs{os.sep}empty.png (not an image)" in message
    assert f"dogs{os.sep}truncated-whole.jpg (image file is truncated" in message
    assert f"dogs{os.sep}truncated-whole.png (" in message


def test_what_cannot_be_read_is_refused_if_asked(mixed):
    spoil(mixed)
    with pytest.raises(ValueError, match=r"4 files .*notes.txt \(not an image\), .*repair them"):
        image_folder(mixed, 8, broken="refuse")
    for i in range(9):
        (mixed / f"x{i}").write_text("text")
    with pytest.raises(ValueError, match="13 files") as caught:
        image_folder(mixed, 8, broken="refuse")
    assert "x1 (not an image), …;" in str(caught.value)  # the sixth


def test_bombs_and_unknown_ranges_are_no_images(mixed, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for name, side in (("warned", 40), ("refused", 50)):  # Pillow warns, and from twice on refuses
        grey(0, (side, side)).save(mixed / f"{name}.png")
    grey(0.5, mode="F").save(mixed / "fractions.tiff")
    grey(70000, mode="I").save(mixed / "deep.tiff")
    with pytest.warns(UserWarning) as caught:
        assert len(image_folder(mixed, 8).train_images) == 4
    message = str(caught[0].message)
    assert "refused.png (more than 1,000 pixels)" in message
    assert "warned.png (more than 1,000 pixels)" in message
    assert "fractions.tiff (its pixels are fractions" in message
    assert "deep.tiff (its pixels have more than 16 bits)" in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_and_links(mixed, tmp_path):
    os.mkfifo(mixed / "pipe.png")
    (mixed / "loop").symlink_to(mixed)
    (mixed / "dangling.png").symlink_to(tmp_path / "nowhere")
    (mixed / "linked.png").symlink_to(mixed / "cats" / "1.png")
    with pytest.warns(UserWarning, match="skipped 3 files") as caught:
        assert len(image_folder(mixed, 8).train_images) == 5
    assert all(name in str(caught[0].message) for name in ("pipe.png", "loop", "dangling.png"))


def test_folders_that_cannot_be(tmp_path, mixed):
    file = mixed / "cats" / "1.png"
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, message in (
        (tmp_path / "missing", "does not exist; expected a folder"),
        (file, "is a file; expected a folder"),
        (empty, "no image: it is empty; expected at least one, a JPEG"),
    ):
        with pytest.raises(ValueError, match=f"^path: '.*{path.name}'.*{message}"):
            image_folder(path, 8)
    (empty / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"none of 1 files can be read \(a.txt \(not an image\)\)"):
        image_folder(str(empty), 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "^size: 0; expected a whole number"),
        ({"size": True}, "^size: True"),
        ({"channels": 4}, r"^channels: 4; expected 3 \(RGB\) or 1"),
    ],
)
def test_bad_arguments_are_refused(mixed, change, message):
    with pytest.raises(ValueError, match=message):
        image_folder(mixed, **({"size": 8} | change))


def test_many_images_are_read_quickly(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "0.jpg")
    content = (tmp_path / "0.jpg").read_bytes()
    for i in range(1, 200):
        (tmp_path / f"{i}.jpg").write_bytes(content)
    start = time.process_time()
    image_folder(tmp_path, 64)
    assert time.process_time() - start < 4  # about 0.6 s


# ---------------------------------------------------------------- text


def test_text_file(tmp_path):
    text = "Zwei Zeilen,\r\neine Ähre\rund 😀.\n" * 50
    for name, start in (("plain.txt", b""), ("marked.txt", b"\xef\xbb\xbf")):
        (tmp_path / name).write_bytes(start + text.encode())
        data = text_file(tmp_path / name)
        whole = data.decode(torch.cat([data.train_tokens, data.test_tokens]))
        assert whole == text.replace("\r\n", "\n").replace("\r", "\n")
        assert len(data.test_tokens) == len(whole) // 10
        assert data.name == name


def test_texts_that_cannot_be(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"a" * 2000 + "é".encode("latin-1") + b"a")
    (tmp_path / "short.txt").write_text("short")
    for name, message in (
        ("latin.txt", "is not UTF-8 text: byte 0xe9 at position 2000 .*save it as UTF-8"),
        ("short.txt", "short.txt has 5 characters; expected at least 1,000"),
        ("missing.txt", "does not exist; expected a text file"),
        ("", "is a folder; expected a text file"),
    ):
        with pytest.raises(ValueError, match=message):
            text_file(str(tmp_path / name))


# ---------------------------------------------------------------- the hub


@pytest.fixture(autouse=True)
def hub_cache(tmp_path_factory, monkeypatch, request):
    """The library datasets writes into a folder of the test's own."""
    if "hub" in request.node.name:
        monkeypatch.setattr(
            "datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("hub"))
        )


def test_hub_reads_a_folder_of_images_as_image_folder_does(mixed):
    (mixed / "dogs" / "small" / "4.without-suffix").unlink()
    expected = image_folder(mixed, 8)
    data = hub(str(mixed), 8)
    assert data.classes == expected.classes and data.name == "pictures"
    assert torch.equal(data.train_labels, expected.train_labels)
    assert torch.equal(data.train_images, expected.train_images)


def test_hub_keeps_the_parts_and_skips_what_is_broken(tmp_path):
    for part, shades in (("train", (10, 20, 30)), ("test", (40,))):
        for shade in shades:
            (tmp_path / part / "a").mkdir(parents=True, exist_ok=True)
            grey(shade, (12, 10)).save(tmp_path / part / "a" / f"{shade}.png")
    (tmp_path / "train" / "a" / "11.png").write_text("no image")
    with pytest.warns(UserWarning, match=r"skipped 1 files .*11.png \(not an image\)"):
        data = hub(str(tmp_path), 8, channels=1)
    assert values(data.train_images)[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert values(data.test_images)[:, 0, 0, 0].tolist() == [40]


def test_hub_without_a_size_keeps_the_one_that_all_have(tmp_path):
    for i in range(3):
        grey(i, (12, 10)).save(tmp_path / f"{i}.png")
    data = hub(str(tmp_path))
    assert data.train_images.shape == (3, 1, 10, 12) and data.classes == ("image",)
    grey(4, (13, 10)).save(tmp_path / "4.png")
    with pytest.raises(ValueError, match=r"^size: None, but the images have 2 sizes"):
        hub(str(tmp_path))


@pytest.mark.parametrize("colourful", [None, "train", "test"])
def test_hub_has_one_channel_where_all_images_are_grey(tmp_path, colourful):
    """As MNIST; a single image in colour, in whichever part, makes three of both parts."""
    kinds = {"a": grey(10), "b": grey(0, mode="1"), "c": Image.new("LA", (12, 12), (30, 255))}
    kinds["d"] = Image.fromarray(np.full((12, 12), 40 * 257, np.uint16))
    for part in ("train", "test"):
        folder = tmp_path / part / "pictures"
        folder.mkdir(parents=True)
        for name, image in kinds.items():
            image.save(folder / f"{name}.png")
        if part == colourful:
            grey(GREEN, mode="RGB").save(folder / "e.png")
    data = hub(str(tmp_path))
    for part, images in (("train", data.train_images), ("test", data.test_images)):
        assert images.shape[1:] == ((3 if colourful else 1), 12, 12)
        assert (values(images)[:4] == torch.tensor([10, 0, 30, 40])[:, None, None, None]).all()
        if part == colourful:
            assert values(images)[4, :, 0, 0].tolist() == list(GREEN)
    for channels in (1, 3):
        assert hub(str(tmp_path), channels=channels).test_images.shape[1] == channels


def test_hub_reads_text(tmp_path):
    text = "the first line\n" * 100
    (tmp_path / "train.txt").write_text(text)
    data = hub(str(tmp_path))
    assert data.decode(data.train_tokens) + data.decode(data.test_tokens) == text
    with pytest.raises(ValueError, match=r"^size: 8 given, but .* has no images"):
        hub(str(tmp_path), 8)
    (tmp_path / "validation.txt").write_text("xyz\n")
    assert (data := hub(str(tmp_path))).decode(data.test_tokens) == "xyz\n"


def test_hub_without_images_or_text(tmp_path):
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"has the columns \['a', 'b'\]; expected one of images"):
        hub(str(tmp_path))
    with pytest.raises(ValueError, match="cannot be read"):
        hub(str(tmp_path / "missing"))


def test_hub_without_a_network_does_not_hang(monkeypatch):
    """Nothing listens at this address, as if the hub could not be reached."""
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub_module.urllib.request, "getproxies", dict)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="'somebody/something' needs a network, or a copy"):
        hub("somebody/something")
    assert time.monotonic() - start < 10
    assert datasets.config.HF_HUB_OFFLINE is constants.HF_HUB_OFFLINE is False


def test_missing_packages_say_what_to_install(monkeypatch, mixed):
    for module, call, extra in (
        ("datasets", lambda: hub(str(mixed)), "hub"),
        ("PIL", lambda: image_folder(mixed, 8), "data"),
    ):
        with monkeypatch.context() as context:
            context.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=rf'pip install "course-lib\[{extra}\]"'):
                call()
