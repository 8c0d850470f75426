"""What these tests share."""

import pytest

from xalign.judging.langid import ManyLanguages


@pytest.fixture(scope="session")
def many_languages():
    return ManyLanguages()
