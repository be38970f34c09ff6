"""Downloads of the archives from their publishers, checked by the checksums of publishers or public registries."""

from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from aljax.errors import InputError

CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 60

# SHA-256 of the tiles from the registry of TensorFlow Datasets, and of the labels from their authors.
UCMERCED = {
    "http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip": (
        "sha256:06c539ef28703a58fb07bd2837991ac7c48b813b00bb12ac197efd813a18daeb"
    ),
    "https://bigearth.eu/assets/docs/multilabels.zip": (
        "sha256:65dcd64d619975ff28bbd15447c70df23a5ee9ebe40335b364af6b3e211943e6"
    ),
}

# MD5 from Zenodo, record 6780578.
ZENODO = "https://zenodo.org/records/6780578/files/"
TREESATAI_MD5 = {
    "train_filenames.lst": "a1a0148e8120b0268f76d2e98a68436f",
    "test_filenames.lst": "2166903d947f0025f61e342da466f917",
    "labels.zip": "656f1b68ec9ab70afd02bb127b75bb24",
    "aerial_60m_abies_alba.zip": "4298b1c9fbf6d0d85f7aa208ff5fe0c9",
    "aerial_60m_acer_pseudoplatanus.zip": "7c31d7ddea841f6509deece8f984a79e",
    "aerial_60m_alnus_spec.zip": "34ea107f43c6172c6d2652dbf26306af",
    "aerial_60m_betula_spec.zip": "69de9373739a027692a823846434fa0c",
    "aerial_60m_cleared.zip": "8dffbb2f6aad17ef83721cffa5b52d96",
    "aerial_60m_fagus_sylvatica.zip": "77b277e69e90bfbd3c5fd15a73d228fe",
    "aerial_60m_fraxinus_excelsior.zip": "9a88a8e6821f8a54ded950de9238831f",
    "aerial_60m_larix_decidua.zip": "aa0bc5b091b099018a078536ef429031",
    "aerial_60m_larix_kaempferi.zip": "429df073f69f8bbf60aef765e1c925ba",
    "aerial_60m_picea_abies.zip": "edb9b1bc9a5a7b405f4cbb0d71cedf54",
    "aerial_60m_pinus_nigra.zip": "96bf1798ef82f712ea46c2963ddb7083",
    "aerial_60m_pinus_strobus.zip": "0ff818c6d31f59b8488880e49b300c7a",
    "aerial_60m_pinus_sylvestris.zip": "298cbaac4d9f07a204e1e74e8446798d",
    "aerial_60m_populus_spec.zip": "46fcff76b119cc24f3caf938a0bb433a",
    "aerial_60m_prunus_spec.zip": "fb1c570d3ea925a049630224ccb354bc",
    "aerial_60m_pseudotsuga_menziesii.zip": "2d05511ceabf4037b869eca928f3c04e",
    "aerial_60m_quercus_petraea.zip": "31f573fb0419b2b453ed7da1c4d2a298",
    "aerial_60m_quercus_robur.zip": "bcd90506509de26692c043f4c8d73af0",
    "aerial_60m_quercus_rubra.zip": "71d8495725ed1b4f27d9e382409fcc5e",
    "aerial_60m_tilia_spec.zip": "f81558c9c7189ac8a257d041ee43c1c9",
}
TREESATAI = {ZENODO + name: f"md5:{md5}" for name, md5 in TREESATAI_MD5.items()}


def download(checksums: Mapping[str, str], folder: Path) -> None:
    """Downloads the files that are missing in `folder`, and checks those that exist.

    `checksums` maps each URL to `md5:...` or `sha256:...`. A file gets its final name when it is complete and its
    checksum is right, so after an interruption the next call continues with that file. Raises InputError.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    for left in folder.glob("tmp????????"):
        left.unlink()  # temporary files of a download that was killed
    for url, checksum in checksums.items():
        name = url.rpartition("/")[2]
        bar = tqdm(desc=name, total=1, unit="B", unit_scale=True, disable=None, leave=False)
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK_BYTES, timeout=TIMEOUT_SECONDS)
        try:
            with bar:
                pooch.retrieve(url, checksum, fname=name, path=folder, downloader=downloader)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{url} could not be downloaded ({reason}): try again, or get it yourself and give its folder as "
                "--manual-dir"
            ) from error
