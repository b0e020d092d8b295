/*
 * An application that writes what reaches it, a line each, so that a test can compare it with what was sent:
 *
 *   ready                  it has the keyboard
 *   key STATE NAME         a key was pressed, with the modifiers of X11's state in decimal
 *   text TEXT              the text of that key, where it has one that can be seen
 *   button STATE NUMBER    a mouse button was pressed
 */
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void key_pressed(XIC context, XKeyEvent *event)
{
    char text[64];
    KeySym keysym = NoSymbol;
    Status status;
    const int length = Xutf8LookupString(context, event, text, sizeof text - 1, &keysym, &status);
    const char *name = XKeysymToString(keysym);

    printf("key %u %s\n", event->state, name != NULL ? name : "?");
    text[length] = '\0';
    if ((unsigned char)text[0] > ' ')
        printf("text %s\n", text);
}

int main(void)
{
    Display *display;
    Window window;
    XIM method;
    XIC context;
    XEvent event;

    setvbuf(stdout, NULL, _IOLBF, 0);
    setlocale(LC_ALL, "");
    XSetLocaleModifiers("");
    display = XOpenDisplay(NULL);
    if (display == NULL) {
        fputs("keys: there is no display to connect to\n", stderr);
        return EXIT_FAILURE;
    }
    window = XCreateSimpleWindow(display, DefaultRootWindow(display), 0, 0, 1280, 720, 0, 0, 0x102030);
    XStoreName(display, window, "CoSage keys");
    method = XOpenIM(display, NULL, NULL, NULL);
    context = XCreateIC(method, XNInputStyle, XIMPreeditNothing | XIMStatusNothing, XNClientWindow, window, NULL);
    XSelectInput(display, window, KeyPressMask | ButtonPressMask | FocusChangeMask);
    XMapWindow(display, window);
    for (;;) {
        XNextEvent(display, &event);
        if (XFilterEvent(&event, None))
            continue;
        switch (event.type) {
        case FocusIn:
            puts("ready");
            break;
        case KeyPress:
            key_pressed(context, &event.xkey);
            break;
        case ButtonPress:
            printf("button %u %u\n", event.xbutton.state, event.xbutton.button);
            break;
        case MappingNotify:
            XRefreshKeyboardMapping(&event.xmapping);
            break;
        default:
            break;
        }
    }
}
