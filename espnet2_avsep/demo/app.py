"""A page in the browser over a trained separator: upload, point, look and listen."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Collection, Dict, List, Optional, Sequence, Tuple

from espnet2_avsep.demo.request import (
    Request,
    command_words,
    outline,
    picture_at,
    read_boxes,
    without_folders,
    write_box,
)
from espnet2_avsep.errors import InputError
from espnet2_avsep.report.render import part

# Tracks that there is room for, the residual included.
MAX_TRACKS = 9
# How long uploads and tracks are kept.
_KEPT_SECONDS = 24 * 3600
_TEMPLATE = "demo.html"
# (words of `avsep separate`, progress) -> its folder and result.json. Progress is told
# what is being done and the share of the work that is done.
Run = Callable[
    [Sequence[str], Callable[[str, float], None]], Tuple[Path, Dict[str, Any]]
]


def build_app(
    run: Run,
    takes: Collection[str],
    about: Sequence[str] = (),
    example: Optional[Path] = None,
):
    """Build the app.

    Args:
        run: Separates.
        takes: Prompts that the model takes: of picture, region, text, embedding.
        about: Sentences on what the model separates.
        example: A video that the page begins with.

    Returns:
        A gradio.Blocks for start(). To gradio's client its functions are ``/show`` and
        ``/separate``.
    """
    import gradio as gr

    # Goes with the app; gradio serves copies of what is in it.
    scratch = tempfile.TemporaryDirectory(prefix="avsep_demo_")
    regions = "region" in takes
    file_types = ["image"] if "picture" in takes else []
    file_types += [".npy"] if "embedding" in takes else []

    def told(function):
        """What the user did wrong becomes a message, which stays until it is closed."""

        def wrapped(*arguments):
            try:
                return function(*arguments)
            except InputError as error:
                # A visitor knows uploads by their names, not by their folders here.
                text = re.sub(r"(?<!\S)(?:/[^\s/:,]+)+/", "", str(error))
                raise gr.Error(text, duration=None, print_exception=False) from error

        return wrapped

    @told
    def show(video: Optional[str], share: float, boxes: str):
        if not video:
            return None
        return outline(picture_at(video, share), read_boxes(boxes or ""))

    def mark(
        video: Optional[str],
        share: float,
        boxes: str,
        corner: Optional[List[int]],
        event: gr.SelectData,
    ):
        return _mark(video, share, boxes, corner, event.index)

    @told
    def _mark(video, share, boxes, corner, point):
        if corner is None:
            return list(point), boxes, show(video, share, boxes), _ASK_SECOND
        picture = picture_at(video, share)
        line = write_box(corner, point, picture.shape[1], picture.shape[0])
        lines = [*(boxes or "").splitlines(), line]
        boxes = "\n".join(text for text in lines if text.strip())
        return None, boxes, show(video, share, boxes), _ASK_FIRST

    @told
    def _separate(request: Request, progress: Any):
        words = command_words(request)
        asked = sum(word == "--query" for word in words) + 2 * request.halves
        if asked > MAX_TRACKS - 1:
            raise InputError(
                f"{asked} things were asked for; {MAX_TRACKS - 1} is the most."
            )
        folder = tempfile.mkdtemp(dir=scratch.name)
        progress(0.0, desc="reading the queries")
        folder, result = run(
            [*words, "--out", folder],
            lambda what, share: progress(share, desc=what),
        )
        return _found(Path(folder), result)

    def separate(
        video,
        sound,
        share,
        halves,
        boxes,
        moment,
        names,
        pictures,
        one,
        progress=gr.Progress(),  # noqa: B008  # gradio's way to ask for one
    ):
        request = Request(
            *(video or "", sound or "", share, bool(halves), boxes or "", bool(moment)),
            *(names or "", pictures or [], bool(one)),
        )
        return _separate(request, progress)

    def _found(folder: Path, result: Dict[str, Any]) -> List[Any]:
        """Return the values of the outputs: status, files, and those of each track."""
        tracks = {n: f for n, f in result["tracks"].items() if "sound" in f}
        said = [f"{len(tracks)} tracks of {result['seconds']:.1f} s", *result["notes"]]
        files = [
            str(folder / each[kind])
            for kind in ("sound", "video", "spectrogram")
            for each in tracks.values()
            if kind in each
        ]
        if "page" in result:
            files.append(str(folder / result["page"]))
        asked = {query["name"]: query["query"] for query in result["queries"]}
        values: List[Any] = []
        for name, each in tracks.items():
            query = without_folders(asked.get(name, "everything else"))
            video = str(folder / each["video"]) if "video" in each else None
            values += [
                gr.Column(visible=True),
                part(_TEMPLATE, "track", name, query),
                gr.Audio(value=str(folder / each["sound"]), label=each["sound"]),
                gr.Image(value=str(folder / each["spectrogram"]), label="Spectrogram"),
                gr.Video(value=video, label=each.get("video"), visible=bool(video)),
            ]
        for _ in range(MAX_TRACKS - len(tracks)):
            values += [gr.Column(visible=False), "", None, None, None]
        return [part(_TEMPLATE, "status", said), files, *values]

    with gr.Blocks(
        title="espnet2_avsep",
        analytics_enabled=False,
        delete_cache=(3600, _KEPT_SECONDS),
    ) as app:
        gr.HTML(part(_TEMPLATE, "head", about))
        corner = gr.State(None)
        begin = None if example is None else shutil.copy(example, scratch.name)
        with gr.Row():
            video = gr.Video(
                value=begin, label="Video", sources=["upload"], elem_id="video"
            )
            sound = gr.Audio(
                label="Or a sound", sources=["upload"], type="filepath", elem_id="sound"
            )
        with gr.Row():
            with gr.Column(visible=regions):
                share = gr.Slider(
                    0, 1, 0.5, step=0.01, label="Picture at this share of the video"
                )
                picture = gr.Image(
                    label="Click two opposite corners of a thing",
                    type="numpy",
                    interactive=False,
                    elem_id="picture",
                )
                hint = gr.Markdown(_ASK_FIRST)
            with gr.Column():
                halves = gr.Checkbox(
                    value=regions and begin is not None,
                    label="The left and the right half of the picture, as for a duet",
                    visible=regions,
                    elem_id="halves",
                )
                boxes = gr.Textbox(
                    label="Regions, one a line: left, top, right, bottom (0 to 1)",
                    info="With @3-5 at the end: it sounds from 3 to 5 s only.",
                    lines=2,
                    visible=regions,
                    elem_id="boxes",
                )
                moment = gr.Checkbox(
                    label="Look at the regions in the shown picture only, not along "
                    "the video",
                    visible=regions,
                )
                names = gr.Textbox(
                    label="Names, one a line (e.g. violin)",
                    lines=2,
                    visible="text" in takes,
                    elem_id="names",
                )
                pictures = gr.File(
                    label="Pictures"
                    + (", or embeddings (.npy)" if "embedding" in takes else ""),
                    file_count="multiple",
                    file_types=file_types,
                    visible=bool(file_types),
                )
                one = gr.Checkbox(
                    label="All of them are of one thing",
                    visible="embedding" in takes,
                    elem_id="one",
                )
        button = gr.Button("Separate", variant="primary", elem_id="separate")
        status = gr.HTML(elem_id="status")
        outputs: List[Any] = []
        for _ in range(MAX_TRACKS):
            with gr.Column(visible=False) as group:
                heading = gr.HTML()
                with gr.Row():
                    with gr.Column(scale=2):
                        player = gr.Audio(interactive=False)
                        drawn = gr.Image(interactive=False, height=220)
                    film = gr.Video(
                        interactive=False, visible=False, height=300, scale=1
                    )
            outputs += [group, heading, player, drawn, film]
        files = gr.File(label="All files to download", file_count="multiple")
        given = [video, share, boxes]
        for component in (video, boxes):
            component.change(show, given, picture, api_visibility="private")
        if begin is not None:
            app.load(show, given, picture, api_visibility="private")
        share.release(show, given, picture, api_name="show")
        marked = [corner, boxes, picture, hint]
        picture.select(mark, [*given, corner], marked, api_visibility="private")
        button.click(
            separate,
            [video, sound, share, halves, boxes, moment, names, pictures, one],
            [status, files, *outputs],
            api_name="separate",
            concurrency_limit=1,
        )
    return app


def start(app: Any, host: str, port: int, wait: bool = True) -> str:
    """Serve an app until it is interrupted.

    Args:
        app: What build_app() returned.
        host: Address to serve at.
        port: 0 takes a free one.
        wait: Whether to return only at the end.

    Returns:
        The app's address.

    Raises:
        InputError: nothing can be served there.
    """
    import gradio as gr

    # Fonts of the system: the page must not ask another server for anything.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        _, address, _ = app.launch(
            server_name=host,
            server_port=port or None,
            theme=theme,
            share=False,
            quiet=not wait,
            prevent_thread_lock=not wait,
        )
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: {error}. Give another --port."
        ) from error
    return address


_ASK_FIRST = "Click one corner of a thing."
_ASK_SECOND = "Now click the opposite corner."
