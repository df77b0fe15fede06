"""The one type that every data format is read into."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wheatear.words import composed


@dataclass(frozen=True, eq=False)
class Sample:
    """A photo and its heads. Samples are equal only if they are the same object, as comparing arrays is ambiguous.

    boxes:   (G, 4) float32 xyxy pixels of the photo, half-open; (0, 4) for a photo without heads.
    width, height: pixels of the photo with its EXIF orientation applied; 0 if the file could not be read.
    source:  the label file's own name for where the photo is from; "" if it gives none.
    session: one field on one day (GWHD 2021's "domain"); "" if unknown.
    photo:   tiles cut from the same field photo share this name; "" if not known yet.
    split:   "train", "val", "test" or "" if not divided yet.
    rows:    (G,) int64 line numbers of the boxes in the label file (the header is line 1), for messages; in
             COCO the annotations' ids (if these are no int64: places, from 0), in VOC the objects' numbers;
             (0,) if unknown.
    labelled_size: width and height of the photo according to its labels; (0, 0) if they give none.
    """

    path: Path
    boxes: np.ndarray
    width: int
    height: int
    source: str = ""
    session: str = ""
    photo: str = ""
    split: str = ""
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    labelled_size: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """The photo's file name without extension: Kaggle's image_id. Its accents are composed, as in all labels."""
        return composed(self.path.stem)

    def is_of_another_size(self) -> bool:
        """Whether its labels were made on a photo of another size, so that their boxes are misplaced on this one."""
        return 0 not in self.labelled_size and self.labelled_size != (self.width, self.height) != (0, 0)

    @property
    def session_or_source(self) -> str:
        """The session's name, the source's if that is unknown, and "unknown" if both are."""
        return self.session or self.source or "unknown"
