"""Runs inside Blender when it has started: settings of a desktop that may stop at any time, and the
return of the last session's work."""

import os
import pathlib

import bpy


def apply_preferences():
    preferences = bpy.context.preferences
    preferences.view.show_splash = False
    # The desktop stops while nobody looks: a question on quitting would have no answer, and
    # quit.blend keeps the work anyway.
    preferences.view.use_save_prompt = False
    preferences.filepaths.use_auto_save_temporary_files = True
    preferences.filepaths.auto_save_time = 1  # minutes


def recover():
    """Opens the newer of the session saved on quitting and the automatic saves of one that did not quit."""
    directory = pathlib.Path(os.environ["TMPDIR"])
    saves = [*directory.glob("quit.blend"), *directory.glob("*_autosave.blend")]
    if not saves:
        return
    newest = max(saves, key=lambda path: path.stat().st_mtime)
    try:
        if newest.name == "quit.blend":
            bpy.ops.wm.recover_last_session(use_scripts=False)
        else:
            bpy.ops.wm.recover_auto_save(filepath=str(newest), use_scripts=False)
    except RuntimeError as error:
        # A damaged save does not keep Blender from starting, and stays where it is.
        print(f"blender: {newest} cannot be opened, starting without it: {error}", flush=True)
        return
    print(f"blender: the last session is back, from {newest.name}", flush=True)


def translate():
    """Takes the language that LANG says, until somebody chooses one in the preferences."""
    if (pathlib.Path(bpy.utils.user_resource("CONFIG")) / "userpref.blend").exists():
        return
    view = bpy.context.preferences.view
    try:
        view.language = "DEFAULT"
    except TypeError:
        # This Blender was built without translations.
        return
    view.use_translate_interface = True
    view.use_translate_tooltips = True


def follow_scale():
    """Keeps the interface at the scale of the viewer's display, which may change at any time.

    Blender takes the resolution from the X server once, when it starts, so that only what has changed since is applied.
    """
    source = pathlib.Path(os.environ["XDG_RUNTIME_DIR"]) / "scale"
    applied = pathlib.Path(os.environ["TMPDIR"]) / "ui-scale"
    view = bpy.context.preferences.view

    def read():
        try:
            return float(source.read_text())
        except (OSError, ValueError):
            return 1.0

    at_start = read()
    own = view.ui_scale
    try:
        value, factor = map(float, applied.read_text().split())
        # Saved with the preferences while it was applied: then it is not what somebody chose.
        if abs(value - own) < 0.001:
            own /= factor
    except (OSError, ValueError):
        pass
    last = at_start

    def look():
        nonlocal last, own
        scale = read()
        if scale != last:
            # What was changed by hand meanwhile counts from now on.
            own = view.ui_scale / (last / at_start)
            last = scale
            view.ui_scale = own * scale / at_start
            applied.write_text(f"{view.ui_scale} {scale / at_start}")
            bpy.context.preferences.is_dirty = False
        return 0.5  # seconds until it looks again

    view.ui_scale = own
    bpy.app.timers.register(look, persistent=True)


apply_preferences()
translate()
follow_scale()
recover()
