/*
 * Makes the VNC server's keyboard the one whose map counts, before anything is typed.
 *
 * A symbol without a keycode gets one in the map of the core keyboard. The X server replaces that whole map when the
 * device that sends the events changes, so at the first key event of a display. The symbol of that event would lose its
 * keycode, and the next new symbol would get the same one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xcb/xcb.h>
#include <xcb/xinput.h>
#include <xcb/xtest.h>

/* Of an extension's event numbers, those of the X Input extension 1.0 (XIproto.h). */
enum { DEVICE_KEY_PRESS = 1, DEVICE_KEY_RELEASE = 2 };

/* Shift by itself has no effect: <LFSH> of the evdev keycodes. */
enum { LEFT_SHIFT = 50 };

static int is_of_server(const xcb_input_xi_device_info_t *device)
{
    static const char extension[] = "XTEST";

    return device->type == XCB_INPUT_DEVICE_TYPE_SLAVE_KEYBOARD
        && memmem(xcb_input_xi_device_info_name(device), device->name_len, extension, sizeof extension - 1) == NULL;
}

int main(void)
{
    xcb_connection_t *display = xcb_connect(NULL, NULL);
    const xcb_query_extension_reply_t *input = xcb_get_extension_data(display, &xcb_input_id);
    xcb_input_xi_query_device_reply_t *devices;
    xcb_input_xi_device_info_iterator_t each;

    if (input == NULL || !input->present) {
        fputs("select-keyboard: there is no display, or it has no input devices\n", stderr);
        return EXIT_FAILURE;
    }
    /* The server answers XI2 requests to clients that have said which version they speak. */
    free(xcb_input_xi_query_version_reply(display, xcb_input_xi_query_version(display, 2, 0), NULL));
    devices = xcb_input_xi_query_device_reply(display, xcb_input_xi_query_device(display, XCB_INPUT_DEVICE_ALL), NULL);
    if (devices == NULL) {
        fputs("select-keyboard: the input devices cannot be listed\n", stderr);
        return EXIT_FAILURE;
    }
    for (each = xcb_input_xi_query_device_infos_iterator(devices); each.rem > 0; xcb_input_xi_device_info_next(&each)) {
        const uint8_t id = (uint8_t)each.data->deviceid;

        if (!is_of_server(each.data))
            continue;
        xcb_test_fake_input(display, input->first_event + DEVICE_KEY_PRESS, LEFT_SHIFT, 0, XCB_NONE, 0, 0, id);
        xcb_test_fake_input(display, input->first_event + DEVICE_KEY_RELEASE, LEFT_SHIFT, 0, XCB_NONE, 0, 0, id);
    }
    free(devices);
    /* An answer comes when the events have been taken. */
    free(xcb_get_input_focus_reply(display, xcb_get_input_focus(display), NULL));
    xcb_disconnect(display);
    return EXIT_SUCCESS;
}
