"""TensorFlow Datasets builders of UC Merced and TreeSatAI, in the NumPy-only mode that needs no TensorFlow.

Importing this module registers `ucmerced_multilabel` and `treesatai` with TensorFlow Datasets:

    import tensorflow_datasets as tfds
    import aljax.data.archives.builders
    builder = tfds.builder("treesatai", data_dir=DIR, file_format="array_record")
    builder.download_and_prepare()
    source = builder.as_data_source(split="train")  # records {"id", "image": encoded bytes, "labels"}

The source files are taken from the manual directory, or downloaded if it is missing or empty.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from aljax.data.archives import treesatai, ucmerced
from aljax.data.archives.download import TREESATAI, UCMERCED, download
from aljax.data.archives.listing import Listing
from aljax.data.archives.prepared import VERSION
from aljax.data.tiles.decoding import decode

# Encoded tiles per shard; a shard is held in memory while it is written. A GeneratorBasedBuilder would need TensorFlow
# to write more than 1000 MiB.
SHARD_BYTES = 2**28


class TilesBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Records of the encoded tiles, unchanged and in the order of the listing; the metadata repeat ids and labels."""

    VERSION = tfds.core.Version(VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The files as their publishers offer them, zipped or unpacked."
    # Set by the subclasses.
    list_files: ClassVar[Callable[[Path], Listing]]
    downloads: ClassVar[Mapping[str, str]]
    num_classes: ClassVar[int]
    homepage: ClassVar[str]

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Scalar(np.object_),
            "labels": tfds.features.Tensor(shape=(self.num_classes,), dtype=np.uint8),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            homepage=self.homepage,
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[Any]]]]:
        listing = type(self).list_files(self._source(dl_manager))
        ends = np.cumsum([*listing.parts.values()]).tolist()
        ranges = {part: range(end - count, end) for (part, count), end in zip(listing.parts.items(), ends, strict=True)}
        present = [np.flatnonzero(row).tolist() for row in listing.labels]
        self.info.metadata.update(
            name=listing.name,
            class_names=list(listing.class_names),
            ids={part: [listing.ids[index] for index in rows] for part, rows in ranges.items()},
            classes={part: [present[index] for index in rows] for part, rows in ranges.items()},
            total_bytes=listing.total_bytes,
        )
        size = max(SHARD_BYTES * len(listing.ids) // max(listing.total_bytes, 1), 1)

        def shards(rows: range) -> list[Callable[[], Iterator[Any]]]:
            return [partial(self._examples, listing, rows[start : start + size]) for start in range(0, len(rows), size)]

        return {part: shards(rows) for part, rows in ranges.items()}

    def _source(self, dl_manager: tfds.download.DownloadManager) -> Path:
        try:
            return Path(dl_manager.manual_dir)
        except AssertionError:  # the manual directory is missing or empty
            folder = Path(dl_manager.download_dir) / self.name
            download(self.downloads, folder)
            return folder

    def _examples(self, listing: Listing, rows: range) -> Iterator[tuple[int, dict[str, Any]]]:
        name, total = f"preparing {listing.name}", len(listing.ids)
        with tqdm(desc=name, total=total, initial=rows.start, unit="tile", disable=None, leave=False) as bar:
            for index in rows:
                data = listing.read(index)
                decode(data, listing.names[index], listing.form)  # reports a broken tile now, not in training
                yield index, {"id": listing.ids[index], "image": data, "labels": listing.labels[index]}
                bar.update()


class UcmercedMultilabel(TilesBuilder):
    """UC Merced Land Use (Yang and Newsam, 2010) with the multi-labels of Chaudhuri et al. (2018)."""

    name = ucmerced.DATASET
    list_files = ucmerced.list_ucmerced
    downloads = UCMERCED
    num_classes = ucmerced.NUM_CLASSES
    homepage = "http://weegee.vision.ucmerced.edu/datasets/landuse.html"


class Treesatai(TilesBuilder):
    """TreeSatAI (Ahlswede et al., 2023): aerial tiles of 60 m with the genera that cover more than 7 %."""

    name = treesatai.DATASET
    list_files = treesatai.list_treesatai
    downloads = TREESATAI
    num_classes = len(treesatai.GENERA)
    homepage = "https://zenodo.org/records/6780578"
