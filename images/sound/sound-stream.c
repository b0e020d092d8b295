/*
 * The sound of the desktop for the gateway, as live WebM with Opus on a TCP port (see
 * images/README.md). Whoever connects sends the password, where there is one, and gets the
 * initialisation segment at once and then a cluster every 40 ms. Each connection is a process
 * that records and encodes for as long as it is taken: without one, nothing is recorded.
 *
 *   sound-stream PORT [FILE]     FILE holds the password
 */
#include "webm.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <opus/opus.h>
#include <poll.h>
#include <pulse/error.h>
#include <pulse/simple.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    RATE = 48000,
    CHANNELS = 2,
    FRAME_MS = 20,
    FRAME_SAMPLES = RATE / 1000 * FRAME_MS,
    CLUSTER_FRAMES = 2,
    BIT_RATE = 96000,
    /* RFC 6716, 3.2.1: no frame of one packet is longer. */
    PACKET_MAX = 1275,
    CLUSTER_MAX = WEBM_CLUSTER_OVERHEAD + CLUSTER_FRAMES * (WEBM_BLOCK_OVERHEAD + PACKET_MAX),
    PASSWORD_LENGTH = 8,
    PASSWORD_SECONDS = 5,
    /* What a receiver that does not take it may keep waiting. */
    SEND_SECONDS = 2,
    /* How long the sound server is waited for. */
    SERVER_SECONDS = 5,
    TRIES_A_SECOND = 50,
    /* The service has one connection, and a second one for a moment. */
    CONNECTIONS = 4,
};

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "sound-stream: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static void limit(int socket, int option, int seconds)
{
    const struct timeval time = { .tv_sec = seconds };

    if (setsockopt(socket, SOL_SOCKET, option, &time, sizeof time) != 0)
        fail("a connection cannot be limited in time", strerror(errno));
}

/* Whether the client knows the password. How far it is right must not show in the time it takes. */
static int admit(int client, const char *password)
{
    char given[PASSWORD_LENGTH];
    unsigned difference = 0;
    size_t i, length = 0;

    while (length < sizeof given) {
        ssize_t more = recv(client, given + length, sizeof given - length, 0);

        if (more <= 0)
            return 0;
        length += (size_t)more;
    }
    for (i = 0; i < sizeof given; i++)
        difference |= (unsigned)(given[i] ^ password[i]);
    return difference == 0;
}

/* Whether all of it could be sent; what cannot be is the end of the connection. */
static int deliver(int client, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(client, bytes, length, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return 0;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 1;
}

/* The client has hung up, which a send alone would only notice a cluster later. */
static int is_gone(int client)
{
    struct pollfd state = { .fd = client, .events = POLLRDHUP };

    return poll(&state, 1, 0) != 0;
}

static pa_simple *record(void)
{
    const pa_sample_spec format = { .format = PA_SAMPLE_FLOAT32NE, .rate = RATE, .channels = CHANNELS };
    /* Handed over frame by frame; the server else gathers up to two seconds. */
    const pa_buffer_attr buffer = {
        .maxlength = (uint32_t)-1,
        .fragsize = FRAME_SAMPLES * CHANNELS * sizeof(float),
    };
    const struct timespec pause = { .tv_nsec = 1000000000L / TRIES_A_SECOND };
    int error, tries;

    /* A sound server that has just been started may be a moment late. */
    for (tries = 0; tries < SERVER_SECONDS * TRIES_A_SECOND; tries++) {
        pa_simple *source = pa_simple_new(NULL, "CoSage", PA_STREAM_RECORD, "desktop.monitor", "stream", &format, NULL, &buffer, &error);

        if (source != NULL)
            return source;
        if (error != PA_ERR_CONNECTIONREFUSED)
            break;
        nanosleep(&pause, NULL);
    }
    fail("the sound server refuses the recording", pa_strerror(error));
}

static void stream(int client)
{
    static float samples[FRAME_SAMPLES * CHANNELS];
    static uint8_t packet[PACKET_MAX], bytes[CLUSTER_MAX], header[WEBM_HEADER_MAX];
    struct webm_cluster cluster;
    pa_simple *source = record();
    opus_int32 delay = 0, length;
    uint64_t frame;
    int error;
    OpusEncoder *encoder = opus_encoder_create(RATE, CHANNELS, OPUS_APPLICATION_AUDIO, &error);

    if (encoder == NULL)
        fail("the encoder cannot be made", opus_strerror(error));
    opus_encoder_ctl(encoder, OPUS_SET_BITRATE(BIT_RATE));
    opus_encoder_ctl(encoder, OPUS_SET_COMPLEXITY(5));
    /* Silence is what 16 bits cannot tell from it, and takes three bytes a frame. */
    opus_encoder_ctl(encoder, OPUS_SET_LSB_DEPTH(16));
    opus_encoder_ctl(encoder, OPUS_GET_LOOKAHEAD(&delay));
    if (!deliver(client, header, webm_header(header, CHANNELS, RATE, (unsigned)delay)))
        return;
    for (frame = 0; !is_gone(client); frame++) {
        const unsigned part = (unsigned)(frame % CLUSTER_FRAMES);

        if (pa_simple_read(source, samples, sizeof samples, &error) < 0)
            fail("the recording ended", pa_strerror(error));
        length = opus_encode_float(encoder, samples, FRAME_SAMPLES, packet, sizeof packet);
        if (length < 0)
            fail("the encoder failed", opus_strerror(length));
        if (part == 0)
            webm_cluster_begin(&cluster, bytes, frame * FRAME_MS);
        webm_cluster_add(&cluster, part * FRAME_MS, packet, (size_t)length);
        if (part == CLUSTER_FRAMES - 1 && !deliver(client, bytes, webm_cluster_end(&cluster)))
            return;
    }
}

static void serve(int client, const char *password)
{
    const int at_once = 1;

    /* A connection must not outlive the desktop's session. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    limit(client, SO_RCVTIMEO, PASSWORD_SECONDS);
    limit(client, SO_SNDTIMEO, SEND_SECONDS);
    if (password == NULL || admit(client, password))
        stream(client);
    exit(EXIT_SUCCESS);
}

static int listen_on(const char *text)
{
    /* IPv4 connections come in on it as well. */
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
    struct sockaddr_in any4 = { .sin_family = AF_INET };
    const int yes = 1;
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int bound;

    any.sin6_port = any4.sin_port = htons((uint16_t)atoi(text));
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

static const char *read_password(const char *path)
{
    static char password[PASSWORD_LENGTH];
    FILE *file = fopen(path, "r");

    if (file == NULL || fread(password, 1, sizeof password, file) != sizeof password)
        fail("the password cannot be read", path);
    fclose(file);
    return password;
}

static void interrupt(int signal_number)
{
    (void)signal_number;
}

int main(int count, char **arguments)
{
    /* Without SA_RESTART, so that the end of a connection interrupts the wait for the next one. */
    const struct sigaction ended = { .sa_handler = interrupt };
    const char *password;
    int connections = 0, listener;

    if (count < 2 || count > 3) {
        fprintf(stderr, "usage: sound-stream PORT [PASSWORD-FILE]\n");
        return 64;
    }
    password = count == 3 ? read_password(arguments[2]) : NULL;
    listener = listen_on(arguments[1]);
    sigaction(SIGCHLD, &ended, NULL);
    for (;;) {
        int client = -1;
        pid_t child;

        while (connections > 0 && waitpid(-1, NULL, WNOHANG) > 0)
            connections--;
        if (connections >= CONNECTIONS) {
            if (waitpid(-1, NULL, 0) > 0)
                connections--;
            continue;
        }
        client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) {
            if (errno != EINTR && errno != ECONNABORTED)
                fail("no connection can be taken", strerror(errno));
            continue;
        }
        child = fork();
        if (child == 0) {
            close(listener);
            serve(client, password);
        }
        if (child > 0)
            connections++;
        close(client);
    }
}
