"""A page in the browser over a trained separator: upload, point, listen."""

import tempfile
from typing import Any, List, Optional

from espnet2_avsep.demo.request import (
    outline,
    picture_at,
    queries,
    read_boxes,
    separate_recording,
    write_box,
)
from espnet2_avsep.errors import InputError

# Tracks that there is room for, the rest of the recording included.
MAX_TRACKS = 9
# How long uploads and tracks are kept.
_KEPT_SECONDS = 24 * 3600
HELP = """\
Give a video, or a sound alone. Then say what to separate, in any of three ways: mark
regions of the picture (click two opposite corners, or type them), type names, or give
pictures. Each becomes a track of its own; what is left is the last one.
"""


def build_app(separate: Any, max_seconds: float, title: str = "espnet2_avsep"):
    """Build the app.

    Args:
        separate: A SeparateAV.
        max_seconds: Longer recordings are refused.
        title: Of the page.

    Returns:
        A gradio.Blocks for start(). To gradio's client its functions are ``/show`` and
        ``/separate``.
    """
    import gradio as gr

    # Goes with the app; gradio serves copies of what is in it.
    scratch = tempfile.TemporaryDirectory(prefix="avsep_demo_")

    def told(function):
        """What the user did wrong becomes a message on the page."""

        def wrapped(*arguments):
            try:
                return function(*arguments)
            except InputError as error:
                raise gr.Error(str(error), print_exception=False) from error

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
    def run(video, sound, share, boxes, names, pictures):
        asked = queries(video or "", share, boxes or "", names or "", pictures or [])
        if len(asked) > MAX_TRACKS - 1:
            raise InputError(
                f"{len(asked)} things were asked for; {MAX_TRACKS - 1} is the most."
            )
        folder = tempfile.mkdtemp(dir=scratch.name)
        tracks = separate_recording(
            separate, sound or video or "", asked, folder, max_seconds
        )
        players = [
            gr.Audio(value=str(track.path), label=track.title, visible=True)
            for track in tracks
        ]
        hidden = [gr.Audio(value=None, visible=False)] * (MAX_TRACKS - len(tracks))
        files = [str(track.path) for track in tracks]
        return [f"{len(tracks)} tracks", files, *players, *hidden]

    with gr.Blocks(
        title=title, analytics_enabled=False, delete_cache=(3600, _KEPT_SECONDS)
    ) as app:
        gr.Markdown(f"# {title}\n\n{HELP}")
        corner = gr.State(None)
        with gr.Row():
            video = gr.Video(label="Video", sources=["upload"], elem_id="video")
            sound = gr.Audio(
                label="Sound (instead of the video's)",
                sources=["upload"],
                type="filepath",
            )
        with gr.Row():
            with gr.Column():
                share = gr.Slider(
                    0, 1, 0.5, step=0.01, label="Moment of the picture, of the whole"
                )
                picture = gr.Image(
                    label="Picture: click two opposite corners of a thing",
                    type="numpy",
                    interactive=False,
                    elem_id="picture",
                )
                hint = gr.Markdown(_ASK_FIRST)
            with gr.Column():
                boxes = gr.Textbox(
                    label="Regions, one a line: left, top, right, bottom (0 to 1)",
                    lines=3,
                    elem_id="boxes",
                )
                names = gr.Textbox(
                    label="Names, one a line (e.g. violin)", lines=3, elem_id="names"
                )
                pictures = gr.File(
                    label="Pictures", file_count="multiple", file_types=["image"]
                )
        button = gr.Button("Separate", variant="primary", elem_id="separate")
        status = gr.Markdown(elem_id="status")
        files = gr.File(label="Tracks to download", file_count="multiple")
        players = [
            gr.Audio(visible=False, interactive=False) for _ in range(MAX_TRACKS)
        ]
        given = [video, share, boxes]
        for component in (video, boxes):
            component.change(show, given, picture, api_visibility="private")
        share.release(show, given, picture, api_name="show")
        marked = [corner, boxes, picture, hint]
        picture.select(mark, [*given, corner], marked, api_visibility="private")
        button.click(
            run,
            [video, sound, share, boxes, names, pictures],
            [status, files, *players],
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
