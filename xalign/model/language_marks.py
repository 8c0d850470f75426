"""Tokenizers that mark each sentence with its language: which codes they have, and which of them is meant."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError
from xalign.languages import match_language, spellings_of

# Special tokens that are codes, such as `deu_Latn` (NLLB) or `__deu__` (Seamless).
_CODE = re.compile(r"(?:__)?([a-z]{2,3}(?:_[A-Z][A-Za-z]{1,3})?)(?:__)?")


@dataclass(frozen=True, slots=True)
class Mark:
    """How a tokenizer marks the sentences of a language.

    Attributes:
        code: What its `src_lang` is set to.
        token_id: The id of the token that it adds to each sentence.
    """

    code: str
    token_id: int


def codes_of_text(text: str) -> dict[str, str]:
    """Return `source_codes` as they are typed.

    Raises:
        ArgumentError: Text of another form.

    Example:
        >>> codes_of_text("nso_Latn=ns, swh_Latn=sw")
        {'nso_Latn': 'ns', 'swh_Latn': 'sw'}
    """
    pairs = [[side.strip() for side in part.split("=")] for part in text.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):  # noqa: PLR2004
        raise ArgumentError(f"source_codes={text!r:.80} must be like nso_Latn=ns,swh_Latn=sw")
    return dict(pairs)


def mark_of(
    tokenizer: PreTrainedTokenizerBase, language: str, source_codes: Mapping[str, str] | None = None
) -> Mark | None:
    """Return how a tokenizer marks the sentences of a language; None where it marks none.

    A tokenizer has codes of its own: NLLB `deu_Latn`, M2M100 `de`, mBART `de_DE`. The one whose language and
    script are those of `language` is taken.

    Args:
        tokenizer: The tokenizer.
        language: A language code in FLORES-200 form, or one of the tokenizer's own. If it is empty, the
            tokenizer encodes as it is set.
        source_codes: Language -> the tokenizer's code, in place of the one that would be found.

    Raises:
        ArgumentError: The tokenizer has no code of this language, or several; or `source_codes` names one
            that it does not have, or is given for a tokenizer that marks no languages.
    """
    tokens = _tokens_of_codes(tokenizer)
    given = _given(language, source_codes)
    if given is not None and not tokens:
        raise ArgumentError(
            f"source_codes={{{language!r}: {given!r}}}: {type(tokenizer).__name__} does not mark sentences "
            "with their language; leave source_codes out"
        )
    if not tokens or not language:
        return None
    codes = [given] if given is not None else spellings_of(language, tokens)
    if len(codes) != 1:
        has = "no code" if not codes else f"several codes ({', '.join(codes)})"
        raise ArgumentError(
            f"{type(tokenizer).__name__} marks sentences with their language, and has {has} for "
            f"{language!r}: leave this language out, or say which of its {len(tokens)} codes "
            f"({_some(tokens)}) marks it: source_codes={{{language!r}: '...'}}"
        )
    code = codes[0]
    token_id: Any = tokenizer.convert_tokens_to_ids(tokens[code]) if code in tokens else None
    if token_id is None or token_id == tokenizer.unk_token_id:
        raise ArgumentError(
            f"{type(tokenizer).__name__} does not know the code {code!r} for {language!r}; it has "
            f"{len(tokens)}: {_some(tokens)}"
        )
    return Mark(code, int(token_id))


def _given(language: str, source_codes: Mapping[str, str] | None) -> str | None:
    named = (code for key, code in (source_codes or {}).items() if match_language(key, [language]))
    return next(named, None)


def _tokens_of_codes(tokenizer: Any) -> dict[str, str]:
    """Return code -> token of the languages that a tokenizer marks sentences with."""
    if getattr(tokenizer, "src_lang", None) is None:
        return {}
    named = getattr(tokenizer, "lang_code_to_token", None)
    if named:
        return dict(named)
    listed = getattr(tokenizer, "lang_code_to_id", None)
    if listed:
        return {code: code for code in listed}
    special = map(str, tokenizer.all_special_tokens)
    return {found[1]: token for token in special if (found := _CODE.fullmatch(token))}


def _some(tokens: Mapping[str, str]) -> str:
    codes = sorted(tokens)
    return ", ".join(codes[:4]) + (" …" if len(codes) > 4 else "")
