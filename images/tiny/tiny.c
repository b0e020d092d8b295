/*
 * A drawing client whose every pixel is known, so that a test can check a desktop by its colours.
 *
 *   - a 64 by 64 square in each corner: red top left, green top right, blue bottom left, yellow
 *     bottom right. They keep to the corners at every size of the window;
 *   - a 96 by 96 square in the middle: grey until a key is pressed, and then of the colour
 *     `palette[keysym % 8]` of the last key pressed;
 *   - the rest is dark blue (#102030), with a line of text above the middle square: the size of the
 *     window and the character typed last;
 *   - a white square of 8 by 8 wherever the pointer is moved with its first button held, centred on
 *     the pointer. Escape wipes the drawing, Q with Control quits.
 *
 * Nothing moves by itself: a desktop that nobody uses sends no updates.
 */
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <X11/keysym.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CORNER = 64, MIDDLE = 96, BRUSH = 8, TEXT_GAP = 24 };

/* A true-colour visual of 24 bits, which is what the display is started with: a pixel is its RGB. */
enum {
    RED = 0xff0000,
    GREEN = 0x00ff00,
    BLUE = 0x0000ff,
    YELLOW = 0xffff00,
    GREY = 0x808080,
    WHITE = 0xffffff,
    BACKGROUND = 0x102030,
};

static const unsigned long palette[8] = {
    0xe6194b, 0x3cb44b, 0x4363d8, 0xf58231, 0x911eb4, 0x46f0f0, 0xf032e6, 0xd2f53c,
};

static Display *display;
static Window window;
static GC gc;
static int width = 1280, height = 720;
static unsigned long middle = GREY;
static char typed[32];

static void fill(unsigned long colour, int x, int y, int size)
{
    XSetForeground(display, gc, colour);
    XFillRectangle(display, window, gc, x, y, size, size);
}

static void draw(void)
{
    char text[96];
    int length;

    fill(RED, 0, 0, CORNER);
    fill(GREEN, width - CORNER, 0, CORNER);
    fill(BLUE, 0, height - CORNER, CORNER);
    fill(YELLOW, width - CORNER, height - CORNER, CORNER);
    fill(middle, (width - MIDDLE) / 2, (height - MIDDLE) / 2, MIDDLE);

    /* The fixed font is 6 by 13 pixels. */
    XClearArea(display, window, 0, (height - MIDDLE) / 2 - TEXT_GAP - 13, width, 16, False);
    length = snprintf(text, sizeof text, "CoSage  %d x %d  %s", width, height, typed);
    XSetForeground(display, gc, WHITE);
    XDrawString(display, window, gc, (width - 6 * length) / 2, (height - MIDDLE) / 2 - TEXT_GAP, text, length);
}

static void wipe(void)
{
    XClearWindow(display, window);
    draw();
}

static void key_pressed(XKeyEvent *event)
{
    KeySym keysym = NoSymbol;
    char text[sizeof typed];
    int length = XLookupString(event, text, sizeof text - 1, &keysym, NULL);

    if (keysym == NoSymbol || IsModifierKey(keysym))
        return;
    if (keysym == XK_q && (event->state & ControlMask))
        exit(EXIT_SUCCESS);
    /* The font has Latin-1; what is outside it still changes the colour. */
    text[length > 0 ? length : 0] = '\0';
    snprintf(typed, sizeof typed, "%s", (unsigned char)text[0] >= ' ' ? text : "");
    middle = palette[keysym % 8];
    draw();
}

static void quit(int signal_number)
{
    (void)signal_number;
    _exit(EXIT_SUCCESS);
}

int main(void)
{
    XEvent event;
    Atom delete_window;

    /* There is nothing to save, so the polite request and a closed window are simply obeyed. */
    signal(SIGTERM, quit);
    display = XOpenDisplay(NULL);
    if (display == NULL) {
        fprintf(stderr, "tiny: cannot open the display '%s'; is DISPLAY set and its server running?\n", XDisplayName(NULL));
        return EXIT_FAILURE;
    }
    window = XCreateSimpleWindow(display, DefaultRootWindow(display), 0, 0, width, height, 0, 0, BACKGROUND);
    gc = XCreateGC(display, window, 0, NULL);
    XStoreName(display, window, "CoSage tiny");
    delete_window = XInternAtom(display, "WM_DELETE_WINDOW", False);
    XSetWMProtocols(display, window, &delete_window, 1);
    XSelectInput(display, window, ExposureMask | StructureNotifyMask | KeyPressMask | ButtonPressMask | Button1MotionMask);
    XMapWindow(display, window);

    for (;;) {
        XNextEvent(display, &event);
        switch (event.type) {
        case Expose:
            if (event.xexpose.count == 0)
                draw();
            break;
        case ConfigureNotify:
            if (event.xconfigure.width != width || event.xconfigure.height != height) {
                width = event.xconfigure.width;
                height = event.xconfigure.height;
                wipe();
            }
            break;
        case KeyPress:
            if (XLookupKeysym(&event.xkey, 0) == XK_Escape)
                wipe();
            else
                key_pressed(&event.xkey);
            break;
        case ButtonPress:
            if (event.xbutton.button == Button1)
                fill(WHITE, event.xbutton.x - BRUSH / 2, event.xbutton.y - BRUSH / 2, BRUSH);
            break;
        case MotionNotify:
            fill(WHITE, event.xmotion.x - BRUSH / 2, event.xmotion.y - BRUSH / 2, BRUSH);
            break;
        case MappingNotify:
            /* The VNC server maps a keysym it has no key for to a spare key, just before it sends it. */
            XRefreshKeyboardMapping(&event.xmapping);
            break;
        case ClientMessage:
            if ((Atom)event.xclient.data.l[0] == delete_window)
                return EXIT_SUCCESS;
            break;
        default:
            break;
        }
    }
}
