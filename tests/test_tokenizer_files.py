"""The files beside a tokenizer: what they say about texts is applied, or refused by name."""

import json

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from vitax.data.tokens import SPECIAL, Vocabulary, load_vocabulary
from vitax.errors import UserError
from vitax.runs.tokenizer_files import check_tokenizer

WORDS = [*SPECIAL, "the", "cat", "un", "able", "<user>", "a", "[", "]", "mask", "sep"]
PLAIN = {"content": "<user>", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}


def tokenizer_json(single="[CLS] $A [SEP]"):
    tokenizer = tokenizers.Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    ends = [(word, WORDS.index(word)) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ends)
    return tokenizer.to_str()


def checked(folder, files, single="[CLS] $A [SEP]"):
    """The remark about a tokenizer.json, or a vocab.txt if the files name one, beside other files."""
    files = {"tokenizer.json": tokenizer_json(single)} | files if "vocab.txt" not in files else files
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    path = folder / ("vocab.txt" if "vocab.txt" in files else "tokenizer.json")
    return check_tokenizer(path, load_vocabulary(str(path), lowercase=True))


CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
VOCAB = {"vocab.txt": "\n".join(WORDS)}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {CONFIG: {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True, "cls_token": "[CLS]"}},
        {CONFIG: {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}},  # it leaves the file as it is
        {CONFIG: {"added_tokens_decoder": {"4": {**PLAIN, "content": "[MASK]"}}}, ADDED: {"[MASK]": 4}},
        {MAP: {"pad_token": {**PLAIN, "content": "[PAD]"}, "unk_token": "[UNK]"}},
        {**VOCAB, MAP: {"sep_token": "[SEP]"}},
    ],
)
def test_files_that_agree(tmp_path, files):
    assert checked(tmp_path, files) == ""


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({CONFIG: {"do_lower_case": False}}, "says do_lower_case=False, and tokenizer.json lowercase=True"),
        ({CONFIG: {"strip_accents": False}}, "says strip_accents=False, and tokenizer.json strip_accents=None"),
        ({CONFIG: {"tokenize_chinese_chars": False}}, "says tokenize_chinese_chars=False"),
        ({CONFIG: {"cls_token": "[SEP]"}}, r"says cls_token='\[SEP\]', and vitax takes '\[CLS\]'"),
        ({CONFIG: {"pad_token": "[MASK]"}}, r"says pad_token='\[MASK\]', and vitax takes '\[PAD\]'"),
        ({MAP: {"sep_token": "[CLS]"}}, "special_tokens_map.json beside .* says sep_token"),
        ({**VOCAB, MAP: {"cls_token": "[SEP]"}}, "special_tokens_map.json beside .* says cls_token"),
        ({CONFIG: {"added_tokens_decoder": {"9": PLAIN}}}, "has the token '<user>' with the id 9"),
        ({CONFIG: {"added_tokens_decoder": {"99": PLAIN}}}, "has the token '<user>' with the id 99"),
        ({CONFIG: {"added_tokens_decoder": {"4": {"content": "[MASK]", "lstrip": True}}}}, r"has the token '\[MASK\]'"),
        ({CONFIG: {"added_tokens_decoder": {"4": {}}}}, "cannot be read: KeyError"),
        ({ADDED: {"<user>": 9}}, "added_tokens.json beside .* has the token '<user>'"),
        ({**VOCAB, ADDED: {"<user>": 9}}, "added_tokens.json beside .* has the token '<user>'"),
        ({ADDED: "[" * 100_000}, "is not JSON"),
        ({MAP: "[]"}, "holds a list, not an object"),
    ],
)
def test_files_that_disagree(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        checked(tmp_path, files)


@pytest.mark.parametrize(
    ("single", "message"),
    [
        ("$A [SEP]", r"makes 'a \[SEP\]' of the text 'a'"),
        ("[CLS]:1 $A:1 [SEP]:1", r"gives a text the segments \[1, 1, 1\], and vitax 0"),
    ],
)
def test_what_stands_around_a_text(tmp_path, single, message):
    with pytest.raises(UserError, match=message):
        checked(tmp_path, {}, single)


def test_a_special_token_without_weights_is_in_no_text(tmp_path):
    words = [word for word in WORDS if word != "[MASK]"]
    assert checked(tmp_path, {"vocab.txt": "\n".join(words), CONFIG: {"mask_token": "[MASK]"}}) == ""


def test_a_hidden_word_is_where_its_tokenizer_puts_it():
    words = {"<unk>": 0, "[MASK]": 1, "▁un": 2, "able": 3, "▁able": 4, "un": 5}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(["[MASK]"])
    assert Vocabulary(tokenizer).encode_masked("un[MASK]able") == [2, 1, 3]  # no space before the rest of the word
    vocab = Vocabulary(tokenizers.Tokenizer.from_str(tokenizer_json()))
    tokens = lambda text: [WORDS[token] for token in vocab.encode_masked(text)]
    assert tokens("the [MASK]") == ["the", "[MASK]"]
    assert tokens("the [SEP] [MASK]") == ["the", "[", "sep", "]", "[MASK]"]  # which is text, and not the end of it
