/*
 * Tells the window manager how large the screen is, as soon as it listens.
 *
 * Viewers resize the screen the moment they can connect, while the window manager starts. matchbox takes the size from
 * when it connects to the display, and hears of changes from when it has asked for them; of one in between it would never
 * know, and would keep the application at the old size. So it is told once more, in the event that a change sends.
 */
#include <X11/Xlib.h>
#include <stdio.h>

int main(void)
{
    Display *display = XOpenDisplay(NULL);
    if (display == NULL) {
        fprintf(stderr, "announce-size: there is no display to connect to\n");
        return 1;
    }
    Window root = DefaultRootWindow(display);
    XWindowAttributes now;
    XEvent event;

    /* Window managers set properties of the root window once they have asked for its events; each is a reason to look. */
    XSelectInput(display, root, PropertyChangeMask);
    while (XGetWindowAttributes(display, root, &now) && !(now.all_event_masks & SubstructureRedirectMask))
        XNextEvent(display, &event);

    /* Until what was told is still so afterwards: a change that comes later is heard by whoever heard this. */
    XWindowAttributes told;
    do {
        told = now;
        event.xconfigure = (XConfigureEvent){
            .type = ConfigureNotify,
            .event = root,
            .window = root,
            .width = told.width,
            .height = told.height,
        };
        XSendEvent(display, root, False, StructureNotifyMask, &event);
        XGetWindowAttributes(display, root, &now);
    } while (now.width != told.width || now.height != told.height);
    XCloseDisplay(display);
    return 0;
}
