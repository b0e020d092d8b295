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


apply_preferences()
recover()
