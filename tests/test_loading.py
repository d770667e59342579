"""Loading: what is read is exactly what was saved, and every damage is refused with its reason."""

import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from logging import getLogger
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers import AutoModelForCausalLM as CausalLM
from transformers.pytorch_utils import Conv1D

import lens_core.checkpoints
import lens_core.memory
from lens_core.errors import InputError, LensError, ModelError, PromptError
from lens_core.loading import estimate_bytes, load_model, wrap_model
from lens_core.weights import (
    files_sha256,
    first_bad_parameter,
    model_bytes,
    model_sha256,
    projection_matrix,
)

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
}
HEADS: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, with rules of its own that no family shares: upper case, no digit groups."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        initial_alphabet=alphabet,
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["hello world 12 12 我爱"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def randomised(model: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def tiny_model(**kwargs: Any) -> Any:
    torch.manual_seed(0)
    config = Qwen2Config(**SIZES, **HEADS, max_position_embeddings=64, **kwargs)
    return randomised(Qwen2ForCausalLM(config))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model(tie_word_embeddings=True).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.usefixtures("_no_network")
def test_loaded_model_is_the_saved_one(saved: Path) -> None:
    loaded = load_model(str(saved))
    for name, weight in tiny_model(tie_word_embeddings=True).state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight), name
    assert (loaded.facts.id, loaded.facts.dtype) == (str(saved), "float32")
    assert loaded.facts.quantization is None
    assert loaded.facts.weights_sha256 == files_sha256(saved)
    assert loaded.facts.n_layers == 3
    assert not loaded.model.training
    assert all(parameter.grad is None for parameter in loaded.model.parameters())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "auto"])
def test_dtype(folder: Path, dtype: str) -> None:
    tiny_model(tie_word_embeddings=True).to(torch.bfloat16).save_pretrained(folder)
    loaded = load_model(str(folder), dtype=dtype)
    assert loaded.facts.dtype == ("bfloat16" if dtype == "auto" else dtype)


def test_folders_own_tokenizer_rules_are_kept(saved: Path) -> None:
    loaded = load_model(str(saved))
    text = "Hello 1212 e\u0301"
    assert loaded.tokenize(text).tolist() == tiny_tokenizer()(text)["input_ids"]
    assert loaded.tokenizer is not None
    assert loaded.tokenizer.eos_token == "<|endoftext|>"


def test_loading_is_quiet_and_leaves_no_trace(
    saved: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    before = (logging.is_progress_bar_enabled(), logging.get_verbosity())
    load_model(str(saved))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before
    assert all(not handler.filters for handler in getLogger("transformers").handlers)


def test_loads_in_several_threads_do_not_disturb_each_other(saved: Path) -> None:
    def dtype_and_head(dtype: str) -> tuple[str, bool]:
        model: Any = load_model(str(saved), dtype=dtype).model
        return str(
            model.lm_head.weight.dtype
        ), model.lm_head.weight is model.model.embed_tokens.weight

    with ThreadPoolExecutor(4) as threads:
        got = list(threads.map(dtype_and_head, ["float32", "bfloat16"] * 6))
    assert got == [("torch.float32", True), ("torch.bfloat16", True)] * 6
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("family", [GPT2Config, Qwen2Config])
def test_wrapped_model_may_lack_a_tokenizer(family: type) -> None:
    config = family(**SIZES, **HEADS, max_position_embeddings=64)
    loaded = wrap_model(randomised(CausalLM.from_config(config)))
    assert loaded.facts.tokenizer_sha256 is None
    assert loaded.facts.weights_sha256 == model_sha256(loaded.model)
    with pytest.raises(LensError, match="without a tokenizer"):
        loaded.tokenize("text")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # inside peft
def test_wrapped_lora_model_gives_its_own_logits() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["down_proj", "q_proj"], init_lora_weights=False)
    model = peft.get_peft_model(tiny_model(), config)
    loaded = wrap_model(model, name="adapted")
    assert loaded.facts.id == "adapted"
    projection = model.base_model.model.model.layers[1].mlp.down_proj
    matrix, _ = projection_matrix(projection)
    merged = model.merge_and_unload().model.layers[1].mlp.down_proj
    torch.testing.assert_close(matrix, merged.weight.T)


def test_name_that_is_nothing(tmp_path: Path) -> None:
    for name in (str(tmp_path / "missing"), "./missing", "~/missing", "a/b/c"):
        with pytest.raises(ModelError, match="no folder"):
            load_model(name)
    with pytest.raises(ModelError, match="model id"):
        load_model("not a name!")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file"):
        load_model(str(tmp_path / "file"))


@pytest.mark.parametrize(
    "name", ["", "  ", "a\0b", "x" * 5000, "~nobody-of-this-name/x", "${HOME}"]
)
def test_odd_names_get_an_answer(name: str) -> None:
    with pytest.raises(ModelError):
        load_model(name)


@pytest.mark.usefixtures("_no_network")
def test_embedded_model(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lens_core.checkpoints.EMBEDDED, "demo", saved)
    assert load_model("demo").facts.id == "demo"
    monkeypatch.setitem(lens_core.checkpoints.EMBEDDED, "demo", tmp_path / "none")
    with pytest.raises(ModelError, match=r"train_demo_models\.py"):
        load_model("demo")


@pytest.mark.usefixtures("_no_network")
def test_hub_model_without_a_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="cannot be reached"):
        load_model("nobody/nothing-at-all")
    assert estimate_bytes("nobody/nothing-at-all") is None


def test_hub_snapshot_in_the_cache_needs_no_connection(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    repository = tmp_path / "models--some--model"
    snapshot = repository / "snapshots" / commit
    shutil.copytree(saved, snapshot)
    digest = files_sha256(saved)
    (repository / "blobs").mkdir()
    (snapshot / "model.safetensors").rename(repository / "blobs" / digest)
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs") / digest)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(lens_core.checkpoints, "_hub_info", lambda name, revision: None)
    loaded = load_model("some/model")
    assert (loaded.facts.id, loaded.facts.revision) == ("some/model", commit)
    assert loaded.facts.weights_sha256 == digest


def damage(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "no config.json"),
        ("config.json", b"{", "no valid JSON"),
        ("config.json", b"\xff\xfe\x00", "no valid JSON"),
        ("config.json", b"[]", "not an object"),
        ("model.safetensors", None, "has no weights"),
        ("model.safetensors", b"", "damaged or cut short"),
        ("model.safetensors", b"garbage" * 99, "damaged or cut short"),
        ("tokenizer.json", None, "no tokenizer"),
        ("tokenizer.json", b"{", "no valid JSON"),
        ("tokenizer.json", b"{}", 'not an object with a "model"'),
        ("tokenizer_config.json", b"nonsense", "no valid JSON"),
    ],
)
def test_damaged_file_is_named(
    folder: Path, name: str, content: bytes | None, message: str
) -> None:
    damage(folder, name, content)
    with pytest.raises(ModelError, match=message):
        load_model(str(folder))


@pytest.mark.parametrize("keep", [0.99, 0.5, 0.0001])
def test_truncated_weights(folder: Path, keep: float) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ModelError, match="damaged or cut short"):
        load_model(str(folder))


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only as a pickle \(pytorch_model.bin\).*Convert"):
        load_model(str(folder))


def test_adapter_folder(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")
    with pytest.raises(ModelError, match="PEFT adapter"):
        load_model(str(folder))


def test_split_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    tiny_model(tie_word_embeddings=True).save_pretrained(folder, max_shard_size="40KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    whole = load_model(str(folder))
    assert torch.equal(
        whole.model.model.layers[2].mlp.up_proj.weight,
        tiny_model(tie_word_embeddings=True).model.layers[2].mlp.up_proj.weight,
    )
    shards[1].unlink()
    with pytest.raises(ModelError, match=f"incomplete.*{shards[1].name}"):
        load_model(str(folder))
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match="not a list of weight files"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 4, "layer_types": None}, r"has no model\.layers\.3\..*12 weights"),
        ({"tie_word_embeddings": False}, r"has no lm_head\.weight"),
        ({"intermediate_size": 49}, r"mlp.down_proj.weight with shape \[32, 48\].*\[32, 49\]"),
        ({"hidden_size": "big"}, "config.json that cannot be used.*hidden_size"),
        ({"hidden_act": "nope"}, "nope"),
        ({"model_type": "unheard_of"}, r'"unheard_of", which is none of the \d+ that transformers'),
        ({"model_type": "qwen22"}, r'\(the nearest is "qwen2"\)'),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            "4 bits by bitsandbytes, which is not installed: pip install",
        ),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "Qwen2ForSequenceClassification"),
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "no causal"),
        ({"model_type": "vit", "architectures": None}, "is a vit"),
        ({"model_type": "t5", "architectures": None}, "encoder-decoder"),
        (
            {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "code.Model"}},
            "trust_remote_code=True",
        ),
    ],
)
def test_wrong_configuration(folder: Path, changes: dict, message: str) -> None:
    rewrite(folder / "config.json", **changes)
    with pytest.raises(ModelError, match=message):
        load_model(str(folder))


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (-float("inf"), "infinite")])
def test_weights_that_are_no_numbers(folder: Path, value: float, word: str) -> None:
    model = tiny_model(tie_word_embeddings=True)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 4] = value
        model.model.layers[2].mlp.down_proj.weight[3, 4] = value
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match=rf"{word} values in model\.layers\.1\.mlp\.down_proj"):
        load_model(str(folder))
    with pytest.raises(ModelError, match=word):
        wrap_model(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_large_finite_weights_pass(dtype: torch.dtype) -> None:
    module = nn.Linear(8, 8).to(dtype)
    with torch.no_grad():
        module.weight.fill_(torch.finfo(dtype).max)
    assert first_bad_parameter(module) is None


def test_models_that_are_not_causal() -> None:
    sizes = {**SIZES, "num_attention_heads": 4}
    t5 = T5ForConditionalGeneration(T5Config(d_model=32, num_layers=1, num_heads=4, d_ff=32))
    with pytest.raises(ModelError, match="encoder-decoder"):
        wrap_model(t5)
    bert = BertLMHeadModel(BertConfig(**sizes, is_decoder=False))
    with pytest.raises(ModelError, match="not causal"):
        wrap_model(randomised(bert))
    with pytest.raises(ModelError, match="no unembedding"):
        wrap_model(AutoModel.from_config(Qwen2Config(**SIZES, **HEADS)))
    wrongs: list[Any] = ["Qwen/Qwen2", nn.Linear(2, 2)]
    for wrong in wrongs:
        with pytest.raises(InputError, match="transformers model"):
            wrap_model(wrong)


def test_memory_that_does_not_suffice(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lens_core.memory, "_free_host", lambda: 100_000)
    with pytest.raises(ModelError, match=r'needs about 0\.00 GB.*float32.*dtype="bfloat16"'):
        load_model(str(saved))


def test_estimate_is_the_size_in_memory(saved: Path) -> None:
    loaded = load_model(str(saved))
    parameters = sum(parameter.nbytes for parameter in loaded.model.parameters())
    assert estimate_bytes(str(saved)) == parameters <= model_bytes(loaded.model)
    assert estimate_bytes(str(saved), dtype="bfloat16") == parameters // 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"dtype": "int3"}, InputError),
        ({"device": "tpu"}, InputError),
        ({"quantization": "2bit"}, InputError),
        ({"quantization": "4bit", "device": "cpu"}, ModelError),
    ],
)
def test_arguments_outside_their_choices(saved: Path, arguments: dict, error: type) -> None:
    with pytest.raises(error):
        load_model(str(saved), **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_quantization_needs_a_gpu(saved: Path) -> None:
    for device in ("cuda", "auto"):
        with pytest.raises(ModelError, match="CUDA"):
            load_model(str(saved), quantization="8bit", device=device)


def test_hash_follows_the_weights() -> None:
    first, second = tiny_model(), tiny_model()
    assert model_sha256(first) == model_sha256(second)
    with torch.no_grad():
        second.model.layers[2].mlp.down_proj.weight[0, 0] += 1e-6
    assert model_sha256(first) != model_sha256(second)
    halves = [tiny_model().to(dtype) for dtype in (torch.bfloat16, torch.float16)]
    assert len({model_sha256(first), *map(model_sha256, halves)}) == 3


@pytest.mark.parametrize("bias", [True, False])
def test_projection_matrix_reproduces_the_projection(bias: bool) -> None:
    torch.manual_seed(0)
    linear = randomised(nn.Linear(700, 8, bias=bias))
    conv = randomised(Conv1D(8, 700))
    wrapped = nn.Sequential(linear)  # neither of the two: has to be probed
    x = torch.randn(5, 700)
    for module in (linear, conv, wrapped):
        matrix, offset = projection_matrix(module)
        expected = x @ matrix + (0 if offset is None else offset)
        torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)
        assert not matrix.requires_grad
        assert matrix.shape == (700, 8)
        assert (offset is None) == (not bias and module is not conv)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 100_000_000, "layer_types": None}, "num_hidden_layers 100,000,000"),
        ({"num_hidden_layers": 0, "layer_types": []}, "num_hidden_layers 0"),
        ({"num_attention_heads": 0}, "num_attention_heads 0"),
        ({"vocab_size": -5}, "vocab_size -5"),
        ({"vocab_size": 10**12}, "vocab_size 1,000,000,000,000"),
        ({"hidden_act": "boom"}, "boom"),
    ],
)
def test_configurations_that_the_files_cannot_fill_are_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(Path(__file__).parents[1] / "demo_models" / "base", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(ModelError, match=words):
        load_model(str(folder))


def test_half_a_character_is_refused() -> None:
    loaded = load_model("demo")
    with pytest.raises(PromptError, match=r"U\+D800 at position 1"):
        loaded.tokenize("a\ud800b")
