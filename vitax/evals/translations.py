"""BLEU and chrF of a model's translations, and the share of exactly correct ones."""

import importlib.util
import logging
from typing import Any

from vitax.data.tokens import Vocabulary, from_json
from vitax.errors import UserError
from vitax.evals.evaluation import Evaluation, Given, choose, predicted
from vitax.tasks import Variables

LOGGER = logging.getLogger("vitax")
# sacreBLEU's tokenizers for languages that do not separate words by spaces, and the package that a tokenizer needs.
TOKENIZERS = {"zh": ("zh", ""), "ja": ("ja-mecab", "MeCab"), "ko": ("ko-mecab", "mecab_ko")}
UNSPACED = ("th", "lo", "km", "my", "bo", "ja", "ko")
# Other codes of these languages: those of ISO 639-3, with which FLORES and Tatoeba name them, and of ISO 639-2.
CODES = {"zho": "zh", "chi": "zh", "cmn": "zh", "yue": "zh", "jpn": "ja", "kor": "ko", "tha": "th", "lao": "lo"}
CODES |= {"khm": "km", "mya": "my", "bur": "my", "bod": "bo", "tib": "bo"}


def bleu(given: Given, *, bleu: bool = True, bleu_tokenizer: str = "", chrf: bool = False) -> Evaluation | None:
    """Translates the test split with the task's beam.

    Measures "bleu", 0..100, by sacreBLEU, whose signature is printed; "exact", the share of translations that equal the
    reference; and "chrf". A reference is compared in the form in which the run's tokenizer can write it: lower case, for
    example, if the tokenizer knows lower case only.

    Args:
        bleu: False = off.
        bleu_tokenizer: sacreBLEU's tokenizer; "" = the one for ``data.target``: zh for Chinese, ja-mecab and ko-mecab if
            they are installed and char otherwise, char for Thai, Lao, Khmer, Burmese and Tibetan, 13a for all others.
        chrf: measure chrF too, which works on characters.

    Raises:
        UserError: the tokenizer cannot be used.
    """
    if not bleu:
        return None
    vocab = from_json(given.reader.record["tokenizer"])
    tokenizer = chosen_tokenizer(bleu_tokenizer, given.reader.record.get("target", ""))
    predict = choose(given.task, "tokens")
    source: Any = given.splits.test  # `vitax.pipelines.bitext.Encoded`
    said: set[str] = set()

    def say_once(message: str) -> None:
        if message not in said:
            said.add(message)
            LOGGER.warning(message)

    def run(variables: Variables) -> dict[str, float]:
        translations, references, changed = [], [], 0
        for batch, out in predicted(predict, variables, given.test, given.mesh):
            translations += [vocab.decode(row) for row in out["tokens"]]
            for i in batch["position"]:
                text = source.reference(int(i))
                references.append(producible(vocab, text))
                changed += references[-1] != text
        if changed:
            say_once(
                f"the tokenizer of this run cannot write {changed:,} of {len(references):,} references as they are: "
                "they are compared in the form in which it can (case, spaces and accents may differ)"
            )
        scores = {"exact": sum(a == b for a, b in zip(translations, references, strict=True)) / max(1, len(references))}
        scores["bleu"], signature, short = corpus_bleu(translations, references, tokenizer)
        if short:
            say_once(
                f"no reference has four tokens of sacreBLEU's tokenizer {tokenizer}: BLEU counts only the orders that "
                "occur (eff:yes in its signature), and is not comparable with other BLEU; chrF is (config.evals.chrf)"
            )
        if signature not in said:
            said.add(signature)
            LOGGER.warning("BLEU is %s", signature)
        if chrf:
            import sacrebleu  # only for runs that translate

            scores["chrf"] = sacrebleu.corpus_chrf(translations, [references]).score
        return scores

    return Evaluation(("bleu", "exact", *(("chrf",) if chrf else ())), run)


def chosen_tokenizer(requested: str, language: str) -> str:
    """The tokenizer that was requested or, if none was, the one for the language; it is tried at once.

    Raises:
        UserError: sacreBLEU does not have the requested one, or it needs something that is not installed.
    """
    import sacrebleu

    name = requested or tokenizer_for(language)
    if name not in sacrebleu.BLEU.TOKENIZERS:
        known = ", ".join(sacrebleu.BLEU.TOKENIZERS)
        raise UserError(f"config.evals.bleu_tokenizer={name!r} is none of sacreBLEU's: {known}")
    try:
        sacrebleu.BLEU(tokenize=name)
    except Exception as error:  # a package or a model of this tokenizer is missing
        if requested:
            raise UserError(f"config.evals.bleu_tokenizer={name!r} cannot be used: {error}") from error
        return "char"
    return name


def tokenizer_for(language: str) -> str:
    """sacreBLEU's tokenizer for a language, such as "de", "zh-TW" or "zho_Hans"."""
    code = language.replace("_", "-").partition("-")[0].lower()
    code = CODES.get(code, code)
    name, package = TOKENIZERS.get(code, ("", ""))
    if name and (not package or importlib.util.find_spec(package)):
        return name
    return "char" if code in UNSPACED else "13a"


def producible(vocab: Vocabulary, text: str) -> str:
    """A text as the tokenizer writes it after reading it; unchanged if it has words that the tokenizer does not know."""
    ids = vocab.encode(text)
    return text if vocab.unknown in ids else vocab.decode(ids)


def corpus_bleu(translations: list[str], references: list[str], tokenizer: str) -> tuple[float, str, bool]:
    """BLEU, its signature, and whether no reference is long enough for four-grams.

    In that case only the orders that occur count; sacreBLEU would otherwise give 0, even for perfect translations.
    """
    import sacrebleu

    metric = sacrebleu.BLEU(tokenize=tokenizer)
    short = not any(len(metric.tokenizer(text).split()) >= 4 for text in references)
    metric = sacrebleu.BLEU(tokenize=tokenizer, effective_order=short)
    score = metric.corpus_score(translations, [references]).score
    return score, str(metric.get_signature()), short
