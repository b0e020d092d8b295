/*
 * Keeps applications at the scale of the viewer's display, on which a picture of native pixels would be too small.
 *
 * A client connects to the TCP port, sends the password, where there is one, and then a line for each change:
 *
 *   scale 1.5
 *
 * The scale of the newest connection that has said one counts, and without any it is 1 again: after a while, so that a
 * viewer may come back. Applications read it while they run from the XSETTINGS (GTK, Qt), when they start from
 * RESOURCE_MANAGER (Xlib), and the others from a file.
 *
 *   display-scale PORT SCALE-FILE [PASSWORD-FILE]
 */
#include <X11/Xatom.h>
#include <X11/Xlib.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTIONS = 32,
    LINE_MAX_LENGTH = 32,
    PASSWORD_LENGTH = 8,
    /* How long the last scale counts after its connection, in milliseconds. */
    STAY = 5000,
    DPI = 96,
    CURSOR = 24,
    /* In XSETTINGS, the unit of a resolution is a 1024th of a dot per inch. */
    DPI_UNIT = 1024,
};

static const double smallest = 1, largest = 4;

struct client {
    int socket;
    /* Until the password has come, and then of a line. */
    char text[LINE_MAX_LENGTH];
    size_t length;
    int admitted;
    /* 0 until it has said one. */
    double scale;
    /* When it said it: the highest is the newest. */
    unsigned long turn;
};

static struct client clients[CONNECTIONS];
static int connected;
static unsigned long turns;
static const char *password;

static Display *display;
static Window owner;
static const char *scale_file;
static double current;

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "display-scale: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static size_t put_number(unsigned char *out, uint32_t number, size_t bytes)
{
    /* Least significant first, which the property's first byte says. */
    for (size_t i = 0; i < bytes; i++)
        out[i] = (unsigned char)(number >> (8 * i));
    return bytes;
}

/* A setting that is a number (XSETTINGS, "Format of the _XSETTINGS_SETTINGS property"). */
static size_t put_setting(unsigned char *out, const char *name, uint32_t serial, uint32_t value)
{
    const size_t length = strlen(name), padded = (length + 3) / 4 * 4;
    size_t at = 0;

    at += put_number(out + at, 0, 2);
    at += put_number(out + at, (uint32_t)length, 2);
    memset(out + at, 0, padded);
    memcpy(out + at, name, length);
    at += padded;
    at += put_number(out + at, serial, 4);
    at += put_number(out + at, value, 4);
    return at;
}

static void publish_settings(double scale)
{
    static uint32_t serial;
    const Atom name = XInternAtom(display, "_XSETTINGS_SETTINGS", False);
    /* GTK's factor for whole windows (Gdk/WindowScalingFactor) is left alone: a window that is open when it changes becomes
     * larger than the screen by it. */
    const struct { const char *name; double value; } settings[] = {
        { "Gtk/CursorThemeSize", CURSOR * scale },
        { "Xft/DPI", DPI * DPI_UNIT * scale },
    };
    unsigned char bytes[512] = { LSBFirst };
    size_t at = 4;

    serial++;
    at += put_number(bytes + at, serial, 4);
    at += put_number(bytes + at, sizeof settings / sizeof *settings, 4);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        at += put_setting(bytes + at, settings[i].name, serial, (uint32_t)settings[i].value);
    XChangeProperty(display, owner, name, name, 8, PropModeReplace, bytes, (int)at);
}

static void publish_resource(double scale)
{
    char text[32];
    const int length = snprintf(text, sizeof text, "Xft.dpi:\t%.0f\n", DPI * scale);

    XChangeProperty(display, DefaultRootWindow(display), XA_RESOURCE_MANAGER, XA_STRING, 8, PropModeReplace,
        (unsigned char *)text, length);
}

/* In one step, because whoever reads it must not find half of it. */
static void publish_file(double scale)
{
    char temporary[256];
    FILE *file;

    snprintf(temporary, sizeof temporary, "%s.new", scale_file);
    file = fopen(temporary, "w");
    if (file == NULL || fprintf(file, "%.4f\n", scale) < 0 || fclose(file) != 0 || rename(temporary, scale_file) != 0)
        fail("the scale cannot be written", strerror(errno));
}

static void publish(double scale)
{
    if (scale == current)
        return;
    current = scale;
    publish_resource(scale);
    publish_file(scale);
    publish_settings(scale);
    XFlush(display);
}

/* Becomes the one that applications have their settings from (XSETTINGS, "Settings manager"). */
static void manage(void)
{
    const Atom selection = XInternAtom(display, "_XSETTINGS_S0", False);
    XClientMessageEvent notice = {
        .type = ClientMessage,
        .message_type = XInternAtom(display, "MANAGER", False),
        .format = 32,
    };

    owner = XCreateSimpleWindow(display, DefaultRootWindow(display), -1, -1, 1, 1, 0, 0, 0);
    XSetSelectionOwner(display, selection, owner, CurrentTime);
    notice.window = DefaultRootWindow(display);
    notice.data.l[0] = CurrentTime;
    notice.data.l[1] = (long)selection;
    notice.data.l[2] = (long)owner;
    XSendEvent(display, notice.window, False, StructureNotifyMask, (XEvent *)&notice);
}

/* What the clients that are left want; 0 when none has said anything. */
static double wanted(void)
{
    const struct client *newest = NULL;

    for (int i = 0; i < connected; i++)
        if (clients[i].scale > 0 && (newest == NULL || clients[i].turn > newest->turn))
            newest = &clients[i];
    return newest != NULL ? newest->scale : 0;
}

/* Whether it is the password. How far it is right must not show in the time it takes. */
static int is_password(const char *text)
{
    unsigned difference = 0;

    for (size_t i = 0; i < PASSWORD_LENGTH; i++)
        difference |= (unsigned)(text[i] ^ password[i]);
    return difference == 0;
}

/* Whether the client may stay. */
static int take_line(struct client *client, const char *line)
{
    double scale;
    int end = 0;

    if (sscanf(line, "scale %lf%n", &scale, &end) != 1 || line[end] != '\0')
        return 0;
    /* Also of what is no number, all comparisons are false. */
    if (!(scale >= smallest && scale <= largest))
        return 0;
    client->scale = scale;
    client->turn = ++turns;
    return 1;
}

static int take_byte(struct client *client, char byte)
{
    if (!client->admitted) {
        client->text[client->length++] = byte;
        if (client->length == PASSWORD_LENGTH) {
            client->admitted = is_password(client->text);
            client->length = 0;
            return client->admitted;
        }
        return 1;
    }
    if (byte == '\n') {
        client->text[client->length] = '\0';
        client->length = 0;
        return take_line(client, client->text);
    }
    if (client->length == LINE_MAX_LENGTH - 1)
        return 0;
    client->text[client->length++] = byte;
    return 1;
}

/* Whether the client stays. */
static int hear(struct client *client)
{
    char bytes[256];
    const ssize_t length = recv(client->socket, bytes, sizeof bytes, 0);

    if (length <= 0)
        return length < 0 && (errno == EINTR || errno == EAGAIN);
    for (ssize_t i = 0; i < length; i++)
        if (!take_byte(client, bytes[i]))
            return 0;
    return 1;
}

static int listen_on(const char *port)
{
    /* IPv4 connections come in on it as well. */
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
    struct sockaddr_in any4 = { .sin_family = AF_INET };
    const int yes = 1;
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), bound;

    any.sin6_port = any4.sin_port = htons((uint16_t)atoi(port));
    if (listener >= 0) {
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        bound = bind(listener, (struct sockaddr *)&any, sizeof any);
    } else {
        /* A host without IPv6. */
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        bound = bind(listener, (struct sockaddr *)&any4, sizeof any4);
    }
    if (bound != 0 || listen(listener, CONNECTIONS) != 0)
        fail("the port cannot be listened on", strerror(errno));
    return listener;
}

static void admit(int listener)
{
    const int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (socket < 0)
        return;
    if (connected == CONNECTIONS) {
        close(socket);
        return;
    }
    clients[connected++] = (struct client){ .socket = socket, .admitted = password == NULL };
}

static const char *read_password(const char *path)
{
    static char text[PASSWORD_LENGTH];
    FILE *file = fopen(path, "r");

    if (file == NULL || fread(text, 1, sizeof text, file) != sizeof text)
        fail("the password cannot be read", path);
    fclose(file);
    return text;
}

int main(int count, char **arguments)
{
    struct pollfd watched[2 + CONNECTIONS];
    int listener;

    if (count < 3 || count > 4) {
        fprintf(stderr, "usage: display-scale PORT SCALE-FILE [PASSWORD-FILE]\n");
        return 64;
    }
    scale_file = arguments[2];
    password = count == 4 ? read_password(arguments[3]) : NULL;
    display = XOpenDisplay(NULL);
    if (display == NULL)
        fail("there is no display to connect to", XDisplayName(NULL));
    manage();
    publish(1);
    listener = listen_on(arguments[1]);
    for (;;) {
        const double scale = wanted();
        const int leaves = scale == 0 && current != 1;
        int ready;

        if (scale > 0)
            publish(scale);
        watched[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
        watched[1] = (struct pollfd){ .fd = ConnectionNumber(display), .events = POLLIN };
        for (int i = 0; i < connected; i++)
            watched[2 + i] = (struct pollfd){ .fd = clients[i].socket, .events = POLLIN };
        ready = poll(watched, (nfds_t)(2 + connected), leaves ? STAY : -1);
        if (ready == 0)
            publish(1);
        if (ready <= 0)
            continue;
        /* From the end, so that those that go leave the others at their places. */
        for (int i = connected - 1; i >= 0; i--) {
            if (watched[2 + i].revents == 0 || hear(&clients[i]))
                continue;
            close(clients[i].socket);
            clients[i] = clients[--connected];
        }
        if (watched[0].revents != 0)
            admit(listener);
        /* Nothing that the X server sends matters here; its end ends this as well. */
        while (XPending(display) > 0) {
            XEvent event;

            XNextEvent(display, &event);
        }
    }
}
