/*
 * Makes large copied texts reach viewers.
 *
 * An application hands over a selection that is larger than some 256 KiB in pieces (ICCCM 2.7.2, INCR), and Xvnc takes only
 * what comes in one piece. So this program looks at what each new owner of CLIPBOARD has. A text that comes in pieces it
 * puts together, and becomes the owner of the whole. Smaller texts stay with their application, in all their formats.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xcb/xcb.h>
#include <xcb/xfixes.h>

/* The longest text that viewers are given, in bytes; Xvnc's -MaxCutText is the same for the way in. */
#define TEXT_MAX (16u << 20)

/* How much of a property is read or written at a time, in bytes; below the 256 KiB of a request without BIG-REQUESTS. */
#define PIECE (128u << 10)

static xcb_connection_t *display;
static xcb_window_t window;
static xcb_atom_t clipboard, utf8, targets, incr, place, text_plain;

/* The text that is owned, or that is being put together. */
static uint8_t *text;
static size_t length;

/* Whether a text comes in pieces, and whether it is too long to be kept. */
static bool gathering, too_long;

/* When the owner that was asked became that. */
static xcb_timestamp_t asked;

static xcb_atom_t atom(const char *name)
{
    xcb_intern_atom_cookie_t cookie = xcb_intern_atom(display, 0, (uint16_t)strlen(name), name);
    xcb_intern_atom_reply_t *reply = xcb_intern_atom_reply(display, cookie, NULL);
    xcb_atom_t value = reply == NULL ? XCB_ATOM_NONE : reply->atom;
    free(reply);
    return value;
}

static void forget(void)
{
    free(text);
    text = NULL;
    length = 0;
    gathering = false;
    too_long = false;
}

static void append(const void *bytes, size_t count)
{
    uint8_t *larger;

    if (too_long || count > TEXT_MAX - length) {
        too_long = true;
        return;
    }
    larger = realloc(text, length + count + 1);
    if (larger == NULL) {
        too_long = true;
        return;
    }
    memcpy(larger + length, bytes, count);
    text = larger;
    length += count;
}

/* Reads all of the property and deletes it, which asks for the next piece. Returns its length in bytes. */
static size_t take_piece(xcb_atom_t *type, bool keep)
{
    size_t total = 0;
    bool more = true;

    *type = XCB_ATOM_NONE;
    while (more) {
        /* It is deleted by the read that reaches its end. */
        xcb_get_property_cookie_t cookie = xcb_get_property(
            display, 1, window, place, XCB_GET_PROPERTY_TYPE_ANY, (uint32_t)(total / 4), PIECE / 4);
        xcb_get_property_reply_t *reply = xcb_get_property_reply(display, cookie, NULL);
        if (reply == NULL)
            break;
        size_t count = (size_t)xcb_get_property_value_length(reply);
        *type = reply->type;
        if (keep && reply->type == utf8)
            append(xcb_get_property_value(reply), count);
        total += count;
        more = reply->bytes_after > 0;
        free(reply);
    }
    return total;
}

static void owner_changed(const xcb_xfixes_selection_notify_event_t *event)
{
    /* The server's own windows have no client in their id: a viewer has copied, and is not asked before somebody pastes. */
    bool viewer = (event->owner & ~xcb_get_setup(display)->resource_id_mask) == 0;

    if (event->owner == window)
        return;
    /* What was owned is another's now, and what was being put together is out of date. */
    forget();
    xcb_delete_property(display, window, place);
    if (viewer)
        return;
    asked = event->selection_timestamp;
    xcb_convert_selection(display, window, clipboard, utf8, place, asked);
}

static void converted(const xcb_selection_notify_event_t *event)
{
    xcb_atom_t type;

    if (event->property == XCB_ATOM_NONE || event->time != asked || gathering)
        return;
    take_piece(&type, false);
    gathering = type == incr;
}

static void piece_arrived(void)
{
    xcb_atom_t type;

    /* An empty piece is the last one. */
    if (take_piece(&type, true) > 0)
        return;
    gathering = false;
    if (too_long) {
        fprintf(stderr, "cosage: a copied text of more than %u MiB does not reach the viewers\n", TEXT_MAX >> 20);
        forget();
    } else if (length > 0) {
        xcb_set_selection_owner(display, window, clipboard, XCB_CURRENT_TIME);
    }
}

/* Puts the text into a property of the requestor's, whole: it takes no pieces. */
static void give_text(xcb_window_t requestor, xcb_atom_t property, xcb_atom_t type)
{
    size_t done = 0;

    do {
        size_t count = length - done < PIECE ? length - done : PIECE;
        xcb_change_property(display, done == 0 ? XCB_PROP_MODE_REPLACE : XCB_PROP_MODE_APPEND, requestor, property, type,
                            8, (uint32_t)count, text + done);
        done += count;
    } while (done < length);
}

static void requested(const xcb_selection_request_event_t *event)
{
    xcb_selection_notify_event_t answer = {
        .response_type = XCB_SELECTION_NOTIFY,
        .time = event->time,
        .requestor = event->requestor,
        .selection = event->selection,
        .target = event->target,
        .property = event->property == XCB_ATOM_NONE ? event->target : event->property,
    };

    if (text != NULL && !gathering && event->target == targets) {
        xcb_atom_t offered[] = {targets, utf8, text_plain};
        xcb_change_property(display, XCB_PROP_MODE_REPLACE, event->requestor, answer.property, XCB_ATOM_ATOM, 32,
                            sizeof offered / sizeof *offered, offered);
    } else if (text != NULL && !gathering && (event->target == utf8 || event->target == text_plain)) {
        give_text(event->requestor, answer.property, event->target);
    } else {
        answer.property = XCB_ATOM_NONE;
    }
    xcb_send_event(display, 0, event->requestor, XCB_EVENT_MASK_NO_EVENT, (const char *)&answer);
}

int main(void)
{
    int number;
    const uint32_t events = XCB_EVENT_MASK_PROPERTY_CHANGE;
    const xcb_query_extension_reply_t *extension;
    const xcb_screen_t *screen;
    xcb_generic_event_t *event;

    display = xcb_connect(NULL, &number);
    if (xcb_connection_has_error(display)) {
        fprintf(stderr, "whole-selection: there is no display to connect to\n");
        return 1;
    }
    extension = xcb_get_extension_data(display, &xcb_xfixes_id);
    if (extension == NULL || !extension->present) {
        fprintf(stderr, "whole-selection: the display has no XFIXES\n");
        return 1;
    }
    free(xcb_xfixes_query_version_reply(display, xcb_xfixes_query_version(display, 1, 0), NULL));
    clipboard = atom("CLIPBOARD");
    utf8 = atom("UTF8_STRING");
    targets = atom("TARGETS");
    incr = atom("INCR");
    place = atom("COSAGE_SELECTION");
    text_plain = atom("text/plain;charset=utf-8");
    screen = xcb_setup_roots_iterator(xcb_get_setup(display)).data;
    window = xcb_generate_id(display);
    xcb_create_window(display, XCB_COPY_FROM_PARENT, window, screen->root, 0, 0, 1, 1, 0, XCB_WINDOW_CLASS_INPUT_ONLY,
                      XCB_COPY_FROM_PARENT, XCB_CW_EVENT_MASK, &events);
    xcb_xfixes_select_selection_input(display, window, clipboard, XCB_XFIXES_SELECTION_EVENT_MASK_SET_SELECTION_OWNER);
    xcb_flush(display);

    while ((event = xcb_wait_for_event(display)) != NULL) {
        uint8_t type = event->response_type & 0x7f;
        const xcb_property_notify_event_t *property = (const xcb_property_notify_event_t *)event;

        if (type == extension->first_event + XCB_XFIXES_SELECTION_NOTIFY)
            owner_changed((const xcb_xfixes_selection_notify_event_t *)event);
        else if (type == XCB_SELECTION_NOTIFY)
            converted((const xcb_selection_notify_event_t *)event);
        else if (type == XCB_SELECTION_REQUEST)
            requested((const xcb_selection_request_event_t *)event);
        else if (type == XCB_PROPERTY_NOTIFY && gathering && property->atom == place &&
                 property->state == XCB_PROPERTY_NEW_VALUE)
            piece_arrived();
        free(event);
        xcb_flush(display);
    }
    return 0;
}
