"""Documents as training and measuring take them: read from a file, and made token ids."""

from collections.abc import Sequence
from pathlib import Path

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
