"""The kernel is compiled once for each process of tests."""

import os

import pytest

from support.pages_library import compile_library


@pytest.fixture(scope="session", autouse=True)
def pages_library(tmp_path_factory: pytest.TempPathFactory) -> None:
    if "FLOWCONV_PAGES_LIBRARY" not in os.environ:
        library = compile_library(tmp_path_factory.mktemp("kernel"))
        os.environ["FLOWCONV_PAGES_LIBRARY"] = str(library)
