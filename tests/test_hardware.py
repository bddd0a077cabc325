"""The choice of device, precision, memory format and number of threads, and its description in words."""

import io

import pytest
import torch

from helpers.refusals import refusal
from nst.engine import hardware, threads
from nst.engine.hardware import choose_hardware, computing


def test_float32_on_the_processor_is_channels_last():
    hardware = choose_hardware("cpu", "float32")
    assert (hardware.device.type, hardware.dtype) == ("cpu", torch.float32)
    assert hardware.memory_format == torch.channels_last


def test_the_description_names_the_processor_cores_and_the_precision(monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)  # the threads are limited to this number
    before = torch.get_num_threads()
    try:
        for count, words in ((1, "1 processor core"), (3, "3 processor cores")):
            torch.set_num_threads(count)
            assert computing("cpu", "float32") == f"{words}, 32-bit numbers"
    finally:
        torch.set_num_threads(before)


def test_bf16_is_channels_last():
    hardware = choose_hardware("cpu", "bf16")
    assert (hardware.dtype, hardware.memory_format) == (torch.bfloat16, torch.channels_last)
    assert str(hardware) == "cpu, bf16"


@pytest.mark.parametrize(
    "cuda, mps, device", [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_chooses_the_first_available_accelerator(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_hardware("auto", "float32").device.type == device


def see_processor(monkeypatch, units: set[str], cpuinfo: str) -> None:
    """Let the package see a processor with these units for bf16 and this text in /proc/cpuinfo."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: "AVX512-BF16" in units)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: "AMX" in units)
    monkeypatch.setattr(hardware, "open", lambda path: io.StringIO(cpuinfo), raising=False)
    hardware.computes_bf16.cache_clear()


EPYC, SAPPHIRE_RAPIDS, COOPER_LAKE = (
    f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: 6\nmodel\t\t: {model}\nmodel name\t: {name}\n\n"
    for vendor, model, name in (
        ("AuthenticAMD", 17, "EPYC 9004"),
        ("GenuineIntel", 143, "Xeon 8480"),
        ("GenuineIntel", 85, "Xeon 8380H"),
    )
)


@pytest.mark.parametrize(
    "units, cpuinfo, dtype, reason",
    [
        ({"AVX512-BF16"}, EPYC, torch.bfloat16, "has AVX512-BF16"),
        ({"AVX512-BF16", "AMX"}, SAPPHIRE_RAPIDS, torch.bfloat16, "has AMX"),
        ({"AVX512-BF16"}, SAPPHIRE_RAPIDS, torch.float32, "hides its AMX"),
        ({"AVX512-BF16"}, COOPER_LAKE, torch.bfloat16, "has AVX512-BF16"),
        ({"AVX512-BF16"}, "", torch.bfloat16, "has AVX512-BF16"),  # not Linux
        (set(), EPYC, torch.float32, "would only emulate bf16"),
    ],
)
def test_the_processor_alone_decides_the_precision_and_the_reason_is_logged(
    monkeypatch, caplog, units, cpuinfo, dtype, reason
):
    see_processor(monkeypatch, units, cpuinfo)
    monkeypatch.setattr(torch, "mm", None)  # nothing is timed: a busy moment must not decide
    with caplog.at_level("INFO", logger="nst"):
        assert {choose_hardware("cpu", "auto").dtype for _ in range(3)} == {dtype}
    hardware.computes_bf16.cache_clear()  # no other test may see this processor
    assert [record.message for record in caplog.records if reason in record.message] == [caplog.records[0].message]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_an_absent_device_is_refused(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device in refusal(choose_hardware, device)


@pytest.mark.parametrize("arguments", [("tpu", "auto"), ("auto", "float16"), ("", "auto")])
def test_an_unknown_device_or_precision_is_refused(arguments):
    refusal(choose_hardware, *arguments)
