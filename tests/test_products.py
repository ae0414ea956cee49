"""Products by oneDNN are those of PyTorch: values, gradients, and who computes what."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from holdfast import libraries
from holdfast.policy import products
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from policy_helpers import make_folder, make_policy
from team_helpers import together
from test_group_pass import loss_and_gradients, random_batch

WORKS = torch.backends.mkldnn.is_available() and products._works()
needs_onednn = pytest.mark.skipif(not WORKS, reason="this PyTorch is built without oneDNN")


@pytest.fixture(autouse=True)
def on_every_processor_and_small_ones_too(monkeypatch):
    monkeypatch.setattr(products, "_enabled", WORKS)
    monkeypatch.setattr(products, "LEAST", 1)


@pytest.mark.parametrize(
    ("vendor", "family", "faster"),
    [
        ("AuthenticAMD", 26, True),  # Zen 5
        ("AuthenticAMD", 25, False),  # Zen 3 and 4
        ("GenuineIntel", 6, False),
        ("GenuineIntel", 26, False),
    ],
)
def test_it_is_used_where_it_is_faster(vendor, family, faster):
    core = f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nflags\t\t: fpu avx512f\n\n"
    assert products._pays(core * 2) == faster


def test_elsewhere_products_are_pytorchs():
    assert not products._pays("")  # no Linux
    assert not products._pays("processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\n")


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the products that oneDNN computed."""
    made, by_onednn = [], products._product

    def product(rows, weight, bias=None):
        made.append((tuple(rows.shape), tuple(weight.shape)))
        return by_onednn(rows, weight, bias)

    monkeypatch.setattr(products, "_product", product)
    return made


def some_maps(biases):
    torch.manual_seed(1)
    return [
        (torch.randn(size, 20).requires_grad_(), torch.randn(size).requires_grad_() if bias else None)
        for size, bias in zip((24, 8, 40), biases, strict=True)
    ]


@needs_onednn
@pytest.mark.parametrize("shape", [(24, 20), (2, 13, 20), (101, 20), (1027, 20)])
@pytest.mark.parametrize("biases", [(True, True, True), (False, False, False), (True, False, True)])
def test_several_maps_of_the_same_rows(shape, biases, calls):
    maps = some_maps(biases)
    rows = torch.randn(shape, requires_grad=True)
    parts = [rows, *(part for one in maps for part in one if part is not None)]
    wanted, found = [F.linear(rows, *one) for one in maps], products.linears(rows, *maps)
    slopes = [torch.randn_like(one) for one in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    ours = torch.autograd.grad(found, parts, slopes)
    theirs = torch.autograd.grad(wanted, parts, slopes)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert len(calls) == 3, "one product forward and two back, whatever their number"


@needs_onednn
def test_only_what_is_learned_has_a_gradient(calls):
    rows, weight = torch.randn(40, 20), torch.randn(8, 20)
    assert not products.linear(rows, weight).requires_grad
    rows.requires_grad_()
    products.linear(rows, weight).sum().backward()
    torch.testing.assert_close(rows.grad, weight.sum(0).expand(40, -1))
    assert len(calls) == 3, "no gradient of a frozen weight"


@needs_onednn
def test_a_part_that_nothing_reads_has_no_slope():
    maps = some_maps((False, False, False))
    rows = torch.randn(30, 20)
    products.linears(rows, *maps)[1].sum().backward()
    assert not maps[0][0].grad.any() and not maps[2][0].grad.any()
    torch.testing.assert_close(maps[1][0].grad, rows.sum(0).expand(8, -1))


def test_few_rows_and_other_types_are_left_to_pytorch(calls, monkeypatch):
    weight = torch.randn(8, 20)
    for rows in (torch.randn(products.FEWEST - 1, 20), torch.randn(0, 20), torch.randn(20)):
        assert torch.equal(products.linear(rows, weight), F.linear(rows, weight))
    for dtype in (torch.bfloat16, torch.float64):
        rows = torch.randn(40, 20, dtype=dtype)
        assert torch.equal(products.linear(rows, weight.to(dtype)), F.linear(rows, weight.to(dtype)))
    with products.by_pytorch():
        products.linear(torch.randn(40, 20), weight)
    monkeypatch.setattr(products, "LEAST", 40 * 20 * 8 + 1)
    products.linear(torch.randn(40, 20), weight)
    assert not calls
    monkeypatch.setattr(products, "LEAST", 40 * 20 * 8)
    products.linear(torch.randn(40, 20), weight)
    assert len(calls) == products._enabled


@needs_onednn
def test_numbers_of_rows_are_few(calls):
    for count in range(1000, 2000):
        products.linear(torch.zeros(count, 4), torch.zeros(2, 4))
    assert len(set(calls)) <= products.STEPS + 2
    assert all(rows[0] <= 1.13 * count for (rows, _), count in zip(calls, range(1000, 2000), strict=True))


@needs_onednn
def test_a_row_is_the_same_in_every_batch_and_by_any_number_of_threads():
    rows, weight = torch.randn(700, 20), torch.randn(32, 20)
    whole, threads = products.linear(rows, weight), torch.get_num_threads()
    assert torch.equal(products.linear(rows[100:230], weight), whole[100:230])
    torch.set_num_threads(2)
    try:
        assert torch.equal(products.linear(rows, weight), whole)
    finally:
        torch.set_num_threads(threads)


@needs_onednn
def test_a_copy_of_a_module_has_weights_of_its_own():
    model = nn.Sequential(nn.Linear(20, 8))
    products.take_over(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.zero_()
        other[0].bias.fill_(3.0)
    rows = torch.randn(40, 20)
    assert (other(rows) == 3).all()
    torch.testing.assert_close(model(rows), F.linear(rows, model[0].weight, model[0].bias))


@needs_onednn
@pytest.mark.parametrize("way", ["packed", "plain"])
def test_a_policy_computes_the_same(way, tmp_path, calls):
    policy = make_policy(make_folder(tmp_path, windowed=True))
    batch = random_batch(policy, 4, (1, 2), 3, 12)
    found, loss, gradients = loss_and_gradients(policy, way, *batch, temperature=0.8)
    assert calls
    with products.by_pytorch():
        wanted, same_loss, wanted_gradients = loss_and_gradients(policy, way, *batch, temperature=0.8)
    torch.testing.assert_close(found.logprobs_BGR, wanted.logprobs_BGR, rtol=0, atol=1e-4)
    torch.testing.assert_close(loss, same_loss)
    for name, wanted_gradient in wanted_gradients.items():
        torch.testing.assert_close(gradients[name], wanted_gradient, rtol=1e-3, atol=1e-5)


@needs_onednn
def test_wrong_products_are_noticed_and_done_without(tmp_path, monkeypatch, caplog):
    product = products._product
    monkeypatch.setattr(products, "_product", lambda *parts: product(*parts) * 1.5)
    policy = make_policy(make_folder(tmp_path))
    batch = random_batch(policy, 2, (1, 1), 2, 24)
    found = policy.group_logprobs(*batch)
    with products.by_pytorch():
        wanted = policy.logprobs_by("plain", *batch, 1.0)
    torch.testing.assert_close(found.logprobs_BGR, wanted.logprobs_BGR, rtol=0, atol=1e-4)
    assert not products._enabled and policy.way == "packed" and "oneDNN" in caplog.text


@needs_onednn
@pytest.mark.parametrize("written_out", [True, False])
def test_what_wrong_products_drew_is_drawn_anew_and_nothing_else_given_up(written_out, tmp_path, monkeypatch):
    policy, same = make_policy(make_folder(tmp_path)), make_policy(tmp_path)
    prompts = random_batch(policy, 2, (1, 1), 2, 24)[0]
    if not written_out:
        policy.backbone.lean = same.backbone.lean = None
    product = products._product
    monkeypatch.setattr(products, "_product", lambda *parts: product(*parts) * 1.5)
    draw = lambda one: one.sample(prompts, 30, Sampling(max_tokens=9), torch.Generator().manual_seed(1))  # noqa: E731
    with products.by_pytorch():
        wanted = draw(same)
    found = draw(policy)
    assert torch.equal(found.tokens_BGR, wanted.tokens_BGR)
    assert not products.used() and policy.way == "packed"
    assert (policy.lean is not None) == written_out


def does_without(team):
    """Where the leading rank found in an earlier stage that its products are wrong."""
    products._enabled = not team.leads
    policy = Policy.load("embedded", ModelSettings(device="cpu"))
    policy.share(2, team)
    return products.used()


@needs_onednn
def test_all_ranks_compute_as_the_leading_one():
    assert together(2, does_without) == [False, False]


@needs_onednn
@pytest.mark.parametrize("wrong", ["values", "transposed"])
def test_an_operation_that_gives_something_else_is_not_used(wrong, monkeypatch):
    assert products._works()
    product = products._product

    def other(rows, weight, bias=None):
        scale = 1.01 if wrong == "values" or not weight.is_contiguous() else 1.0
        return product(rows, weight, bias) * scale

    monkeypatch.setattr(products, "_product", other)
    assert not products._works()
    monkeypatch.setattr(products, "_product", lambda *parts: torch.ops.mkldnn._no_such_operation(*parts))
    assert not products._works()


def test_workers_keep_few_kernels_unless_it_is_set(monkeypatch):
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    assert libraries.settings(3) == {
        "OMP_NUM_THREADS": "3",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7",
        "LRU_CACHE_CAPACITY": libraries.KERNELS,
    }
