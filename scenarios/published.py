"""The published data sets: who reads them, how large they are, whose they are.

Counts are those of the publications and of the files as they are distributed. Licences are notes,
as far as the publishers state them; they bind nobody and free nobody from reading the terms.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torchvision import datasets

from cgcd.vocabulary import InputError
from scenarios.arrays import ImageArrays
from scenarios.cifar import CIFAR10, CIFAR100, read_cifar10, read_cifar100
from scenarios.class_folders import (
    HERBARIUM19,
    inaturalist_layout,
    read_herbarium19,
    read_inaturalist,
)
from scenarios.digits import read_digits
from scenarios.imagenet import IMAGENET, TINY_IMAGENET, read_imagenet, read_tiny_imagenet
from scenarios.layouts import Layout
from scenarios.listed_images import (
    AIRCRAFT,
    CUB,
    FOOD101,
    PETS,
    read_aircraft,
    read_cub,
    read_food101,
    read_pets,
)
from scenarios.mnist import FASHION_MNIST, MNIST, read_fashion_mnist, read_mnist
from scenarios.omniglot import OMNIGLOT, read_omniglot
from scenarios.stanford_cars import CARS, read_cars

Root = str | os.PathLike[str] | None


@dataclass(frozen=True, kw_only=True)
class Download:
    """What torchvision fetches.

    Attributes:
        reader: name of its class in `torchvision.datasets`.
        options: keyword arguments, one call each.
        size: of what is fetched, in words.
    """

    reader: str
    size: str
    options: tuple[Mapping[str, Any], ...] = ({},)

    def fetch(self, root: str | os.PathLike[str]) -> None:
        """Download into `root` and extract it there; what is there already stays.

        Raises:
            InputError: if it cannot be fetched or written, or is not what it should be.
        """
        for options in self.options:
            try:
                getattr(datasets, self.reader)(str(root), download=True, **options)
            except (OSError, RuntimeError, ValueError, EOFError) as error:
                raise InputError(
                    f"torchvision cannot fetch it into {root} ({type(error).__name__}:"
                    f" {' '.join(str(error).split())[:200]}); look at network and disk and try"
                    " again, or fetch it by hand"
                ) from error


@dataclass(frozen=True, kw_only=True)
class PublishedDataset:
    """One data set.

    Attributes:
        layout: where it lies and what it is called; None for one that needs no files.
        read: makes `ImageArrays` of the value of `data_root`.
        num_train, num_test, num_classes: published; the images of a set without parts are training
            images.
        licence: what its publishers state.
        citation: the publication.
        download: what torchvision offers; None where it offers nothing.
        handwriting: its images may not be mirrored.
        title: its name.
    """

    read: Callable[[Root], ImageArrays]
    num_train: int
    num_test: int
    num_classes: int
    licence: str
    citation: str
    layout: Layout | None = None
    download: Download | None = None
    handwriting: bool = False
    title: str = ""

    def __post_init__(self) -> None:
        if self.layout is not None:
            object.__setattr__(self, "title", self.layout.title)


_CIFAR: dict[str, Any] = {
    "num_train": 50_000,
    "num_test": 10_000,
    "licence": "none stated; drawn from 80 Million Tiny Images, which its authors have withdrawn",
    "citation": (
        "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report,"
        " University of Toronto 2009"
    ),
}
_IMAGENET_TERMS = (
    "non-commercial research and education, by agreement with image-net.org; the images belong to"
    " their owners"
)
_INATURALIST: dict[str, tuple[int, int, int]] = {  # species, training and validation images
    "Actinopterygii": (53, 1982, 637),
    "Amphibia": (115, 15_318, 2385),
    "Animalia": (77, 5228, 1362),
    "Arachnida": (56, 4873, 1086),
    "Aves": (964, 214_295, 21_226),
    "Chromista": (9, 398, 144),
    "Fungi": (121, 5826, 1780),
    "Insecta": (1021, 100_479, 18_076),
    "Mammalia": (186, 29_333, 3490),
    "Mollusca": (93, 7536, 1841),
    "Plantae": (2101, 158_407, 38_206),
    "Protozoa": (4, 308, 73),
    "Reptilia": (289, 35_201, 5680),
}

DATASETS: dict[str, PublishedDataset] = {
    "digits": PublishedDataset(
        title="scikit-learn's digits",
        read=lambda root: read_digits(),
        num_train=1258,
        num_test=539,
        num_classes=10,
        licence="CC BY 4.0 (UCI); the images are inside scikit-learn",
        citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998",
        handwriting=True,
    ),
    "mnist": PublishedDataset(
        layout=MNIST,
        read=read_mnist,
        num_train=60_000,
        num_test=10_000,
        num_classes=10,
        licence="CC BY-SA 3.0, as those who pass it on state it",
        citation=(
            "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document"
            " recognition, Proc. IEEE 1998"
        ),
        download=Download(reader="MNIST", size="12 MB"),
        handwriting=True,
    ),
    "fashion_mnist": PublishedDataset(
        layout=FASHION_MNIST,
        read=read_fashion_mnist,
        num_train=60_000,
        num_test=10_000,
        num_classes=10,
        licence="MIT",
        citation=(
            "Xiao, Rasul and Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking"
            " Machine Learning Algorithms, arXiv 1708.07747"
        ),
        download=Download(reader="FashionMNIST", size="31 MB"),
    ),
    "omniglot": PublishedDataset(
        layout=OMNIGLOT,
        read=read_omniglot,
        num_train=32_460,
        num_test=0,
        num_classes=1623,
        licence="MIT (its repository)",
        citation=(
            "Lake, Salakhutdinov and Tenenbaum, Human-level concept learning through probabilistic"
            " program induction, Science 2015"
        ),
        download=Download(
            reader="Omniglot", size="16 MB", options=({"background": True}, {"background": False})
        ),
        handwriting=True,
    ),
    "cifar10": PublishedDataset(
        layout=CIFAR10,
        read=read_cifar10,
        num_classes=10,
        download=Download(reader="CIFAR10", size="170 MB"),
        **_CIFAR,
    ),
    "cifar100": PublishedDataset(
        layout=CIFAR100,
        read=read_cifar100,
        num_classes=100,
        download=Download(reader="CIFAR100", size="169 MB"),
        **_CIFAR,
    ),
    "tiny_imagenet": PublishedDataset(
        layout=TINY_IMAGENET,
        read=read_tiny_imagenet,
        num_train=100_000,
        num_test=10_000,
        num_classes=200,
        licence=f"none stated; made of ImageNet, whose terms are: {_IMAGENET_TERMS}",
        citation="Le and Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS 231N 2015",
    ),
    "imagenet": PublishedDataset(
        layout=IMAGENET,
        read=read_imagenet,
        num_train=1_281_167,
        num_test=50_000,
        num_classes=1000,
        licence=_IMAGENET_TERMS,
        citation=(
            "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015"
        ),
    ),
    "cub": PublishedDataset(
        layout=CUB,
        read=read_cub,
        num_train=5994,
        num_test=5794,
        num_classes=200,
        licence="non-commercial research and education; the photos belong to their owners",
        citation=(
            "Wah, Branson, Welinder, Perona and Belongie, The Caltech-UCSD Birds-200-2011 Dataset,"
            " CNS-TR-2011-001, Caltech 2011"
        ),
    ),
    "cars": PublishedDataset(
        layout=CARS,
        read=read_cars,
        num_train=8144,
        num_test=8041,
        num_classes=196,
        licence="none stated in the archives; the photos belong to their owners",
        citation=(
            "Krause, Stark, Deng and Fei-Fei, 3D Object Representations for Fine-Grained"
            " Categorization, 3dRR 2013"
        ),
    ),
    "aircraft": PublishedDataset(
        layout=AIRCRAFT,
        read=read_aircraft,
        num_train=6667,
        num_test=3333,
        num_classes=100,
        licence="non-commercial research only; the photos belong to those who took them",
        citation=(
            "Maji, Kannala, Rahtu, Blaschko and Vedaldi, Fine-Grained Visual Classification of"
            " Aircraft, arXiv 1306.5151"
        ),
        download=Download(reader="FGVCAircraft", size="2.8 GB"),
    ),
    "food101": PublishedDataset(
        layout=FOOD101,
        read=read_food101,
        num_train=75_750,
        num_test=25_250,
        num_classes=101,
        licence=(
            "photos from Foodspotting, which belong to their owners; use beyond scientific fair use"
            " is to be agreed with them"
        ),
        citation="Bossard, Guillaumin and Van Gool, Food-101, ECCV 2014",
        download=Download(reader="Food101", size="5 GB"),
    ),
    "pets": PublishedDataset(
        layout=PETS,
        read=read_pets,
        num_train=3680,
        num_test=3669,
        num_classes=37,
        licence="CC BY-SA 4.0; the photos belong to their owners",
        citation="Parkhi, Vedaldi, Zisserman and Jawahar, Cats and Dogs, CVPR 2012",
        download=Download(reader="OxfordIIITPet", size="800 MB"),
    ),
    "herbarium19": PublishedDataset(
        layout=HERBARIUM19,
        read=read_herbarium19,
        num_train=34_225,
        num_test=2679,
        num_classes=683,
        licence="the rules of the FGVC6 challenge; images of the New York Botanical Garden",
        citation="Tan, Liu, Ambrose, Tulig and Belongie, The Herbarium Challenge 2019 Dataset,"
        " arXiv 1906.05372",
    ),
    **{
        f"inat_{super_category.lower()}": PublishedDataset(
            layout=inaturalist_layout(super_category),
            read=partial(read_inaturalist, super_category=super_category),
            num_train=num_train + num_val,
            num_test=0,
            num_classes=num_classes,
            licence=(
                "the challenge's terms: non-commercial research and education; every photo has a"
                " licence of its own"
            ),
            citation=(
                "Van Horn et al., The iNaturalist Species Classification and Detection Dataset,"
                " CVPR 2018"
            ),
            download=Download(reader="INaturalist", size="186 GB", options=({"version": "2017"},)),
        )
        for super_category, (num_classes, num_train, num_val) in _INATURALIST.items()
    },
}


def published(name: str) -> PublishedDataset:
    """The data set of that name.

    Raises:
        InputError: if there is none.
    """
    if name not in DATASETS:
        raise InputError(
            f"there is no data set {name!r}; wanted one of {', '.join(DATASETS)}, or"
            " scenario=image_folder for class folders of your own"
        )
    return DATASETS[name]
