/*
 * An application whose sound is known, so that a test can hear it and a measurement can tell how
 * long it took: silence, and from each whole second of the system's clock on, 200 ms of 440 Hz.
 *
 * The sound is handed to the server as other applications do, 20 ms ahead at most.
 */
#include <math.h>
#include <pulse/error.h>
#include <pulse/simple.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    RATE = 48000,
    BLOCK = RATE / 200,
    AHEAD = RATE / 50,
    TONE_MS = 200,
};

static pa_simple *play(void)
{
    const pa_sample_spec format = { .format = PA_SAMPLE_S16LE, .rate = RATE, .channels = 1 };
    const pa_buffer_attr buffer = {
        .maxlength = (uint32_t)-1,
        .tlength = AHEAD * sizeof(int16_t),
        .prebuf = 0,
        .minreq = BLOCK * sizeof(int16_t),
    };
    int error;
    pa_simple *sink = NULL;

    /* The server is started beside the application, and may be a moment late. */
    for (int tries = 0; tries < 100 && sink == NULL; tries++) {
        sink = pa_simple_new(NULL, "tone", PA_STREAM_PLAYBACK, NULL, "tone", &format, NULL, &buffer, &error);
        if (sink == NULL)
            usleep(50000);
    }
    if (sink == NULL) {
        fprintf(stderr, "tone: the sound server does not answer: %s\n", pa_strerror(error));
        exit(EXIT_FAILURE);
    }
    return sink;
}

int main(void)
{
    pa_simple *sink = play();
    int16_t block[BLOCK];
    double phase = 0;
    int error;

    for (;;) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        for (int i = 0; i < BLOCK; i++) {
            const long at = now.tv_nsec / 1000000 + i * 1000 / RATE;

            phase += 2 * M_PI * 440 / RATE;
            block[i] = at % 1000 < TONE_MS ? (int16_t)(16000 * sin(phase)) : 0;
        }
        if (pa_simple_write(sink, block, sizeof block, &error) < 0) {
            fprintf(stderr, "tone: the sound server is gone: %s\n", pa_strerror(error));
            return EXIT_FAILURE;
        }
    }
}
