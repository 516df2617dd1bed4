import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from gateway.api.pages import pages_router
from gateway.dashboard.pages import pages

STATIC = pages().directory
FILES = [f"/{path.relative_to(STATIC)}" for path in STATIC.rglob("*.*")]


@pytest.fixture
def app() -> Litestar:
    dashboard = pages()
    return Litestar([pages_router(dashboard.path, dashboard.directory, dashboard.headers)])


@pytest.mark.parametrize("file", ["", "/", *FILES])
async def test_every_file_goes_out_with_the_headers_of_the_pages(app: Litestar, file: str) -> None:
    async with AsyncTestClient(app) as client:
        answer = await client.get(pages().path + file)

    assert answer.status_code == 200
    assert set(pages().headers.items()) <= set(answer.headers.items())


@pytest.mark.parametrize("path", ["/../pages.py", "/%2e%2e/pages.py", "/no-such-file"])
async def test_nothing_else_is_served(app: Litestar, path: str) -> None:
    assert (pages().directory.parent / "pages.py").is_file()
    async with AsyncTestClient(app) as client:
        answer = await client.get(pages().path + path)

    assert answer.status_code == 404
