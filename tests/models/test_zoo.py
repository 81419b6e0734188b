"""Every published figure of the reference tables is in the zoo, and every row can be used."""

import re

import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.zoo import closest_names, default_entry, entries, find_entry, list_models, named_entry
from hrnet_deploy.spec import Interpolation, Resize, Rounding, Task

VARIANTS = ("w18_small_v1", "w18_small_v2", "w18", "w30", "w32", "w40", "w44", "w48", "w64")
# Top-1/top-5 as the publishers print them, in the order of VARIANTS.
PUBLISHED = {
    "official_in1k": "72.3/90.7 75.1/92.4 76.8/93.3 78.2/94.2 78.5/94.2 78.9/94.5 78.9/94.4 79.3/94.5 79.5/94.6",
    "mm_in1k": "- - 76.75/93.44 78.19/94.22 78.44/94.19 78.94/94.47 78.88/94.37 79.32/94.52 79.46/94.65",
    "ms_in1k": (
        "72.336/90.68 75.11/92.416 76.76/93.444 78.198/94.224 78.452/94.188 78.922/94.47 78.896/94.37 79.3/94.514 "
        "79.47/94.654"
    ),
    "paddle_in1k": "- - 76.92/93.39 78.04/94.02 78.28/94.24 78.77/94.47 79.00/94.51 78.95/94.42 79.30/94.61",
}
DISTILLED = {
    "hrnet_w18.ssld_in1k": (81.2, None),
    "hrnet_w48.ssld_in1k": (83.6, None),
    "hrnet_w18.mm_ssld_in1k": (81.06, 95.70),
    "hrnet_w48.mm_ssld_in1k": (83.63, 96.79),
    "hrnet_w18.paddle_ssld_in1k": (81.162, 95.804),
    "hrnet_w48.paddle_ssld_in1k": (83.63, 96.82),
    "se_hrnet_w64.paddle_ssld_in1k": (84.75, 97.26),
    "hrnet_w18.cutmix_in1k": (77.9, None),
    "hrnet_w48.cutmix_in1k": (81.1, None),
    "hrnet_w18.timm_ssld_in1k": (None, None),
    "hrnet_w48.timm_ssld_in1k": (None, None),
    "hrnet_w18.ms_aug_in1k": (None, None),
    "hrnet_w18_small_v1.gluon_in1k": (None, None),
    "hrnet_w18_small_v2.gluon_in1k": (None, None),
}
SEGMENTATION = {  # params, GMAC at 1024x2048, mIoU there; GMAC at 512x512, mIoU there
    "hrnetv2_w18_small_v1": (1_540_819, 33.391, 70.3, 4.174, 58.6),
    "hrnetv2_w18_small_v2": (3_939_579, 76.857, 76.2, 9.607, 60.4),
    "hrnetv2_w48": (65_859_379, 747.513, 81.1, 93.439, 65.8),
}
COST = {  # params with head bias, params without, GMAC
    "hrnet_w18_small_v1": (13_187_464, None, 1.6015),
    "hrnet_w18_small_v2": (15_597_464, None, 2.5957),
    "hrnet_w18": (21_299_004, 21_295_164, 4.2835),
    "hrnet_w30": (37_712_220, 37_708_380, 8.1058),
    "hrnet_w32": (41_232_680, 41_228_840, 8.9211),
    "hrnet_w40": (57_557_160, 57_553_320, 12.6920),
    "hrnet_w44": (67_064_984, 67_061_144, 14.8831),
    "hrnet_w48": (77_469_864, 77_466_024, 17.2780),
    "hrnet_w64": (128_059_944, 128_056_104, 28.8954),
    "se_hrnet_w64": (None, 128_991_264, 28.90),
}
DIGESTS = {
    "w18": "0c10b180",
    "w30": "8aa3832f",
    "w32": "c394f1ab",
    "w40": "9a2dbfc5",
    "w44": "35d07f73",
    "w48": "e555ef50",
    "w64": "19126642",
}


def figures(tag):
    """(name, top-1, top-5) of every cell in one row of the table."""
    for variant, cell in zip(VARIANTS, PUBLISHED[tag].split(), strict=True):
        if cell != "-":
            yield f"hrnet_{variant}.{tag}", *(float(part) for part in cell.split("/"))


@pytest.mark.parametrize(("name", "top1", "top5"), [row for tag in PUBLISHED for row in figures(tag)])
def test_published_accuracy(name, top1, top5):
    entry = find_entry(name)
    assert (entry.top1, entry.top5, entry.miou) == (top1, top5, None)


@pytest.mark.parametrize(("name", "expected"), DISTILLED.items())
def test_other_trainings(name, expected):
    entry = find_entry(name)
    assert (entry.top1, entry.top5) == expected


@pytest.mark.parametrize(("variant", "expected"), SEGMENTATION.items())
def test_segmentation_figures(variant, expected):
    params, gmacs, miou, small_gmacs, small_miou = expected
    full, small = find_entry(f"{variant}.cityscapes"), find_entry(f"{variant}.cityscapes_512x512")
    assert (full.params, full.gmacs, full.miou, full.input_hw) == (params, gmacs, miou, (1024, 2048))
    assert (small.params, small.gmacs, small.miou, small.input_hw) == (params, small_gmacs, small_miou, (512, 512))
    assert full.filename == small.filename
    assert full.by_hand
    assert full.preprocessing.resize is Resize.LONG_SIDE
    assert small.preprocessing.resize is Resize.SQUASH
    assert full.top1 is None
    assert full.task is Task.SEGMENTATION


def test_the_zoo_holds_nothing_else():
    tested = {row[0] for tag in PUBLISHED for row in figures(tag)} | set(DISTILLED)
    tested |= {f"{variant}.{tag}" for variant in SEGMENTATION for tag in ("cityscapes", "cityscapes_512x512")}
    assert {entry.name for entry in entries()} == tested
    assert len(entries()) == len(tested)


@pytest.mark.parametrize("row", [e for e in entries() if e.task is Task.CLASSIFICATION], ids=lambda e: e.name)
def test_cost(row):
    with_bias, without, gmacs = COST[row.variant]
    unbiased = row.source in {"mmpretrain", "paddleclas"} or "ssld" in row.tag
    assert row.params == (without if unbiased else with_bias)
    assert row.gmacs == gmacs
    assert row.input_hw == (224, 224)


@pytest.mark.parametrize("row", entries(), ids=lambda e: e.name)
def test_row_is_usable(row):
    assert row.name == f"{row.variant}.{row.tag}" == row.name.lower()
    assert row.preprocessing.size_hw == row.input_hw
    assert re.fullmatch(r"[\w.-]+", row.filename)
    assert row.by_hand == (row.url is None)
    if row.by_hand:
        assert "OneDrive: https://1drv.ms/" in row.note
        assert "github.com/HRNet" in row.note
    else:
        assert row.url.startswith("https://")
    if row.digest:
        assert row.filename.endswith(f"-{row.digest}.pth")


def test_one_cached_name_never_means_two_files():
    wheres = {}
    for entry in entries():
        where = entry.url or entry.note[entry.note.index("https://1drv.ms/") :]
        assert wheres.setdefault(entry.filename, where) == where
    assert len(set(wheres.values())) == len(wheres)


@pytest.mark.parametrize(("width", "digest"), DIGESTS.items())
def test_mmpretrain_files(width, digest):
    entry = find_entry(f"hrnet_{width}.mm_in1k")
    assert entry.digest == digest
    assert entry.url == (
        "https://download.openmmlab.com/mmclassification/v0/hrnet/"
        f"hrnet-{width}_3rdparty_8xb32_in1k_20220120-{digest}.pth"
    )


HUB = "https://huggingface.co/timm/{}/resolve/main/model.safetensors"
OPENMMLAB = "https://download.openmmlab.com/mmclassification/v0/hrnet/{}"
BOS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/legendary_models/{}"
RELEASE = "https://github.com/HRNet/HRNet-Image-Classification/releases/download/PretrainedWeights/{}"


@pytest.mark.parametrize(
    ("name", "host", "file"),
    [
        ("hrnet_w18_small_v1.ms_in1k", HUB, "hrnet_w18_small.ms_in1k"),
        ("hrnet_w18_small_v2.gluon_in1k", HUB, "hrnet_w18_small_v2.gluon_in1k"),
        ("hrnet_w18.ms_aug_in1k", HUB, "hrnet_w18.ms_aug_in1k"),
        ("hrnet_w48.timm_ssld_in1k", HUB, "hrnet_w48_ssld.paddle_in1k"),
        ("hrnet_w18.mm_ssld_in1k", OPENMMLAB, "hrnet-w18_3rdparty_8xb32-ssld_in1k_20220120-455f69ea.pth"),
        ("hrnet_w48.mm_ssld_in1k", OPENMMLAB, "hrnet-w48_3rdparty_8xb32-ssld_in1k_20220120-d0459c38.pth"),
        ("hrnet_w64.paddle_in1k", BOS, "HRNet_W64_C_pretrained.pdparams"),
        ("hrnet_w18.paddle_ssld_in1k", BOS, "HRNet_W18_C_ssld_pretrained.pdparams"),
        ("se_hrnet_w64.paddle_ssld_in1k", BOS, "SE_HRNet_W64_C_ssld_pretrained.pdparams"),
        ("hrnet_w18.ssld_in1k", RELEASE, "HRNet_W18_C_ssld_pretrained.pth"),
        ("hrnet_w48.cutmix_in1k", RELEASE, "HRNet_W48_C_cosinelr_cutmix_300epoch.pth.tar"),
    ],
)
def test_urls(name, host, file):
    assert find_entry(name).url == host.format(file)


def test_preprocessing_follows_the_publisher():
    assert find_entry("hrnet_w18.paddle_in1k").preprocessing.interpolation is Interpolation.OPENCV_LINEAR
    assert find_entry("hrnet_w18.paddle_in1k").preprocessing.rounding is Rounding.PADDLE
    assert find_entry("hrnet_w18_small_v1.gluon_in1k").preprocessing.interpolation is Interpolation.BICUBIC
    assert find_entry("hrnet_w18.ms_aug_in1k").preprocessing.crop_pct == 0.95
    assert find_entry("hrnet_w18.timm_ssld_in1k").preprocessing.crop_pct == 0.95
    assert find_entry("hrnet_w18.mm_in1k").preprocessing == find_entry("hrnet_w18.official_in1k").preprocessing


def test_the_corrupted_release_is_marked():
    assert "corrupted" in find_entry("hrnet_w48.cutmix_in1k").note


def test_list_models():
    assert list_models() == entries()
    assert {entry.variant for entry in list_models("hrnet_w18")} == {"hrnet_w18"}
    assert list_models("HRNET_W18.MM_*")[0].name == "hrnet_w18.mm_in1k"
    assert len(list_models("*ssld*")) == 9
    assert len(list_models("*.cityscapes")) == 3
    assert list_models("resnet*") == ()
    assert list_models("") == ()


def test_find_entry_is_forgiving_about_case_and_helpful_about_spelling():
    assert find_entry(" HRNet_W18.MS_in1k ").name == "hrnet_w18.ms_in1k"
    with pytest.raises(
        UsageError, match=r"got 'hrnet_w18_small_v1\.ms_in2k'\. Did you mean hrnet_w18_small_v1\.ms_in1k"
    ):
        find_entry("hrnet_w18_small_v1.ms_in2k")
    with pytest.raises(UsageError, match="Run hrnet-models"):
        find_entry("vgg")
    assert closest_names("hrnetv2_w48") == ("hrnetv2_w48.cityscapes", "hrnetv2_w48.cityscapes_512x512")


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("HRNet-W18-C", "hrnet_w18.official_in1k"),
        ("HRNet-W18-C-Small-v2", "hrnet_w18_small_v2.official_in1k"),
        ("HRNet-W48-C (w/ CosineLR + CutMix + 300epochs)", "hrnet_w48.cutmix_in1k"),
        ("HRNet-W48-C-ssld", "hrnet_w48.ssld_in1k"),
        ("HRNet_W48_C_ssld_pretrained.pth", "hrnet_w48.ssld_in1k"),
        ("hrnetv2_w64_imagenet_pretrained.pth", "hrnet_w64.official_in1k"),
        ("hrnet_w18_small_model_v1", "hrnet_w18_small_v1.official_in1k"),
        ("HRNet_W44_C", "hrnet_w44.paddle_in1k"),
        ("hrnet_w44_c", "hrnet_w44.paddle_in1k"),
        ("HRNet_W44_C_pretrained", "hrnet_w44.paddle_in1k"),
        ("HRNet_W18_C_ssld", "hrnet_w18.paddle_ssld_in1k"),
        ("SE_HRNet_W64_C_ssld", "se_hrnet_w64.paddle_ssld_in1k"),
        ("hrnet-w40_3rdparty_8xb32_in1k", "hrnet_w40.mm_in1k"),
        ("hrnet-w48_3rdparty_8xb32-ssld_in1k", "hrnet_w48.mm_ssld_in1k"),
        ("hrnet-w18_3rdparty_8xb32_in1k_20220120-0c10b180", "hrnet_w18.mm_in1k"),
        ("hrnet_w18_small.ms_in1k", "hrnet_w18_small_v1.ms_in1k"),
        ("hrnet_w18_small", "hrnet_w18_small_v1.gluon_in1k"),
        ("hrnet_w48_ssld", "hrnet_w48.timm_ssld_in1k"),
        ("timm/hrnet_w18.ms_aug_in1k", "hrnet_w18.ms_aug_in1k"),
        ("hf-hub:timm/hrnet_w18_ssld.paddle_in1k", "hrnet_w18.timm_ssld_in1k"),
        ("hf_hub:timm/hrnet_w30.ms_in1k", "hrnet_w30.ms_in1k"),
        ("https://huggingface.co/timm/hrnet_w32.ms_in1k/", "hrnet_w32.ms_in1k"),
        ("hrnet_w48_cityscapes_cls19_1024x2048_trainset.pth", "hrnetv2_w48.cityscapes"),
    ],
)
def test_published_names_stand_for_their_publishers_row(published, name):
    assert find_entry(published).name == name
    assert list_models(published)[0].name == name


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("SE_HRNet_W64_C", "se_hrnet_w64.paddle_ssld_in1k"),  # published with SSLD only
        ("HRNet_W60_C", "paddle_in1k"),  # never published
        ("HRNet-W18-C-Small", "hrnet_w18_small_v1.official_in1k"),
        ("hrnet-w18_4xb32_in1k", "hrnet_w18.mm_in1k"),  # a configuration, not weights
        ("fcn_hr18s_4xb2-40k_cityscapes-512x1024", "give --weights.*hrnetv2_w18_small_v2.cityscapes"),
        ("fcn_hr48_512x512_160k_ade20k", "give --weights.*hrnetv2_w48.cityscapes"),
        ("hf-hub:someone/hrnet_w18", "https://huggingface.co/someone/hrnet_w18/resolve/main/model.safetensors"),
        ("timm/hrnet_w18", "hrnet_w18.ms_in1k or hrnet_w18.ms_aug_in1k"),
        (
            "HRNet_W18_C_ssld_pretrained",
            r"hrnet_w18.ssld_in1k \(official\) or hrnet_w18.paddle_ssld_in1k \(paddleclas\)",
        ),
    ],
)
def test_no_name_stands_for_another_row(name, closest):
    with pytest.raises(UsageError, match=closest):
        find_entry(name)


def test_a_name_stands_for_one_row_or_is_refused():
    for entry in entries():
        for alias in entry.aliases:
            try:
                found = named_entry(alias)
            except UsageError:
                assert alias in {"hrnet_w18_c_ssld_pretrained", "hrnet_w48_c_ssld_pretrained"}
                continue
            assert found.filename == entry.filename
            assert found.preprocessing == entry.preprocessing or found.name == f"{entry.variant}.cityscapes"


def test_the_row_to_begin_with_downloads_and_is_not_the_corrupted_one():
    assert default_entry("hrnet_w48").name == "hrnet_w48.mm_in1k"
    assert default_entry("hrnet_w18_small_v2").name == "hrnet_w18_small_v2.ms_in1k"
    assert default_entry("hrnetv2_w48") is None
