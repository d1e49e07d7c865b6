"""The reader's pages as a web application; every page is at its address, and as JSON at the same with ``.json``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from client.reader import views
from client.reader.stages import Desk, Stage, Target
from client.reader.telling import tell
from common.errors import DataError, OncoFedError, UsageError

if TYPE_CHECKING:
    from client.reader.asking import Asking
    from client.reader.bench import Opened
    from client.reader.journal import Journal, Step
    from client.reader.worklist import Listed

HERE = Path(__file__).parent
STATIC = ("/static/reader.css", "/static/reader.js", "/static/icon.svg")
LONGEST = 4096
"""Bytes of a form."""


class Pages:
    """What the pages know: the worklist, the model, and what this reader said.

    Args:
        asking: The process that reads images; its model is loaded.
        desk: Of the reader.
        journal: Where her answers are kept.
        home: The site's folder, whose monitor is told.
        model: What is known of the model in use.
    """

    def __init__(self, asking: Asking, desk: Desk, journal: Journal, home: Path, model: dict[str, Any]) -> None:
        self._asking, self._desk, self._journal, self._home, self._model = asking, desk, journal, home, model
        self._rows: tuple[Listed, ...] = ()
        self._gone = 0
        loader = FileSystemLoader(HERE / "templates")
        self._templates = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )

    async def scan(self) -> int:
        """Finds the exams anew and returns how many there are. Raises as :meth:`client.reader.bench.Bench.scan`."""
        self._rows, self._gone = await self._asking.scan()
        return len(self._rows)

    def application(self) -> Starlette:
        """Returns the pages."""
        pages = {"/": self._worklist, "/exams/{exam}": self._exam, "/model": self._about, "/help": self._help}
        routes = [
            route
            for path, made in pages.items()
            for route in (
                Route("/worklist.json" if path == "/" else f"{path}.json", self._guarded(made, as_json=True)),
                Route(path, self._guarded(made)),
            )
        ]
        return Starlette(
            routes=[
                *routes,
                Route("/exams/{exam}/images/{number:int}.png", self._picture),
                Route("/exams/{exam}/attention/{number:int}.png", self._attention),
                Route("/exams/{exam}/reading", self._answer("reading"), methods=["POST"]),
                Route("/exams/{exam}/verdict", self._answer("verdict"), methods=["POST"]),
                Route("/scan", self._look_again, methods=["POST"]),
                Mount("/static", StaticFiles(directory=HERE / "static")),
            ],
            exception_handlers={404: self._missing},
        )

    def _guarded(
        self, made: Callable[[Request], Awaitable[dict[str, Any]]], *, as_json: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                return self._drawn(await made(request), as_json)
            except OncoFedError as error:
                return self._trouble(error, as_json)

        return answer

    def _drawn(self, document: dict[str, Any], as_json: bool = False, status: int = 200) -> Response:
        if as_json:
            return JSONResponse(document, status)
        text = self._templates.get_template(f"{document['page']}.html").render(**document, help_keys=views.KEYS)
        return HTMLResponse(text, status)

    def _trouble(self, error: OncoFedError, as_json: bool = False) -> Response:
        status = 409 if isinstance(error, UsageError) else 503
        return self._drawn(views.trouble(self._desk, self._model, status, str(error)), as_json, status)

    async def _missing(self, request: Request, error: Exception) -> Response:
        message = "There is no such page here."
        document = views.trouble(self._desk, self._model, 404, message)
        return self._drawn(document, request.url.path.endswith(".json"), 404)

    async def _worklist(self, request: Request) -> dict[str, Any]:
        return views.worklist(self._desk, self._model, self._rows, self._gone)

    async def _exam(self, request: Request) -> dict[str, Any]:
        place, opened = await self._open(request)
        return views.exam(self._desk, self._model, self._rows, place, opened)

    async def _about(self, request: Request) -> dict[str, Any]:
        self._model = await self._asking.model()
        return views.about(self._desk, self._model)

    async def _help(self, request: Request) -> dict[str, Any]:
        return views.keys(self._desk, self._model)

    async def _open(self, request: Request) -> tuple[int, Opened]:
        """Returns the exam's place in the worklist and what it holds; its answer is on record when this returns."""
        place = self._place(request)
        row = self._rows[place]
        opened = await self._asking.open(row.id)
        if opened.model != self._model["digest"]:
            self._model = await self._asking.model()
            await self.scan()
            place = self._place(request)
        self._rows = (*self._rows[:place], row.of(opened.known), *self._rows[place + 1 :])
        return place, opened

    def _place(self, request: Request) -> int:
        found = request.path_params["exam"]
        for place, row in enumerate(self._rows):
            if row.id == found:
                return place
        raise DataError("There is no such exam in the worklist any more; look for new exams")

    async def _picture(self, request: Request) -> Response:
        return await self._png(self._asking.picture, request)

    async def _attention(self, request: Request) -> Response:
        known = self._rows[self._place(request)].known
        if known is None or not self._desk.sees(known.record):
            return Response("Give your own reading first.", 409, media_type="text/plain")
        model = self._model["digest"]
        return await self._png(lambda exam, number: self._asking.attention(exam, number, model), request)

    async def _png(self, made: Callable[[str, int], Awaitable[bytes]], request: Request) -> Response:
        try:
            row = self._rows[self._place(request)]
            return Response(await made(row.id, request.path_params["number"] - 1), media_type="image/png")
        except OncoFedError:
            return Response("There is no such image.", 404, media_type="text/plain")

    def _answer(self, step: Step) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                _, opened = await self._open(request)
                self._keep(step, await _chosen(request), opened)
            except OncoFedError as error:
                return self._trouble(error)
            shown = {"reading": "answer", "verdict": "verdict"}[step]
            return RedirectResponse(f"/exams/{request.path_params['exam']}#{shown}", 303)

        return answer

    def _keep(self, step: Step, answer: str, opened: Opened) -> None:
        """Keeps an answer that is new and tells the monitor; it counts once both are durable."""
        before = self._desk.said(opened.known.record, step)
        if before is not None and before.answer == answer:
            return  # sent twice
        if not opened.sizes and self._desk.stage(opened.known.record) is Stage.READ:
            raise UsageError("No image of this exam could be read, so there is nothing to say of it")
        entry = self._desk.entry(step, answer, Target(opened.exam, opened.known.record, opened.model))
        tell(self._home, entry)
        self._journal.append(entry)
        self._desk.add(entry)

    async def _look_again(self, request: Request) -> Response:
        try:
            await self.scan()
        except OncoFedError as error:
            return self._trouble(error)
        return RedirectResponse("/", 303)


async def _chosen(request: Request) -> str:
    """Returns the field ``answer`` of a form.

    Raises:
        UsageError: Nothing was chosen, or the form is larger than any of these pages'.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST:
            raise UsageError("This form is larger than any of these pages'")
    found = parse_qs(body.decode("latin-1")).get("answer", [])
    if len(found) != 1:
        raise UsageError("Choose an answer first, then save it")
    return found[0]
