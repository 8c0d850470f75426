"""Documents for training and measuring: read from a file, and turned into token ids."""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError
from xalign.model.encode import refuse_unknown_ids
from xalign.model.inputs import Inputs
from xalign.model.tokenizer_state import keeping


def read_lines(argument: str, file: str | Path) -> list[str]:
    """Return the lines of a file that are not blank.

    Args:
        argument: What gave the file, for the error message.
        file: The file.

    Raises:
        ArgumentError: It cannot be read as UTF-8.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{argument}={str(file)!r} cannot be read as UTF-8 text: {error}") from None
    return [line for line in lines if line.strip()]


def encode_documents(
    argument: str, texts: Sequence[str], inputs: Inputs, end: Sequence[int] = (), *, unit: str = "document"
) -> list[list[int]]:
    """Return the token ids of documents, cut to the model's context.

    Args:
        argument: What gave the documents, for the error message.
        texts: The documents.
        inputs: What the model takes.
        end: Ids that each document ends with.
        unit: What a document is called in the error message.

    Raises:
        ArgumentError: A document without a loss, or ids that the model does not embed.
    """
    with keeping(inputs.tokenizer):
        coded = inputs.tokenizer(list(texts), padding=False, truncation=False, verbose=False)["input_ids"]
    last = list(end)
    documents = [[*ids, *([] if ids[-1:] == last else last)][: inputs.context] for ids in coded]
    if any(len(ids) < 2 for ids in documents):  # noqa: PLR2004
        raise ArgumentError(f"{argument} holds a {unit} of fewer than 2 tokens, which has no loss; drop it")
    refuse_unknown_ids(documents, inputs.vocabulary)
    return documents


def cut_into_blocks(
    files: str | Path | Sequence[str | Path], tokenizer: PreTrainedTokenizerBase, size: int
) -> list[dict[str, list[int]]]:
    """Join all documents and cut them into blocks of equal size; drop the last one if it is not full.

    Args:
        files: Files with one document per line.
        tokenizer: Its end-of-sequence token follows each document.
        size: Tokens per block.

    Returns:
        The rows of a training set: `input_ids` and `labels`.

    Raises:
        ArgumentError: A file that cannot be read, a tokenizer without an end, or too little text.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ArgumentError(
            "the tokenizer has no end-of-sequence token, which separates documents; set its eos_token"
        )
    ids: list[int] = []
    for file in [files] if isinstance(files, str | Path) else files:
        for line in read_lines("text", file):
            ids += [*tokenizer(line)["input_ids"], end]
    blocks = [ids[start : start + size] for start in range(0, len(ids) - size + 1, size)]
    if not blocks:
        raise ArgumentError(
            f"text holds {len(ids)} tokens, fewer than one block={size}; give more text or a smaller block"
        )
    return [{"input_ids": block, "labels": block} for block in blocks]
